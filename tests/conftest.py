"""Shared by all tests: in CI a skipped test is a failure."""

from __future__ import annotations

import os
from collections.abc import Generator

import pytest


def pytest_sessionfinish(session: pytest.Session) -> None:
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if reporter is None or not os.environ.get("PUSHCERT_NO_SKIP"):
        return
    if reporter.stats.get("skipped"):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


FOREIGN = frozenset({"openssl", "node"})


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, object, object]:
    """A foreign program that checks our work may be missing on a machine; CI installs it."""
    try:
        return (yield)
    except FileNotFoundError as missing:
        if missing.filename in FOREIGN:
            pytest.skip(f"{missing.filename} is not installed")
        raise
