"""Shared by all tests: in CI a skipped test is a failure."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Generator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hypothesis
import pytest
import structlog

from lifecycle.errors import Finding
from tests.building import build
from tests.documents import ROOT

if TYPE_CHECKING:
    from playwright.sync_api import Browser

# No test asserts on how long something took, and no generated example does either.
hypothesis.settings.register_profile("untimed", deadline=None)
hypothesis.settings.load_profile("untimed")


def pytest_sessionfinish(session: pytest.Session) -> None:
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if reporter is None or not os.environ.get("PUSHCERT_NO_SKIP"):
        return
    if reporter.stats.get("skipped"):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


@pytest.fixture(autouse=True)
def the_log_as_it_comes() -> Generator[None]:
    """What one test sets up for its process's log is not there for the next."""
    yield
    structlog.reset_defaults()


@pytest.fixture(scope="module")
def browser() -> Generator[Browser]:
    """Chromium. Not for the session: two of playwright's loops in one process do not get along."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        pytest.skip("chromium is not installed")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What this checkout builds."""
    return build(ROOT, "wheel", tmp_path_factory.mktemp("wheel"))


FOREIGN = frozenset({"openssl", "node", "keytool"})


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, object, object]:
    """A foreign program that checks our work may be missing on a machine; CI installs it."""
    try:
        return (yield)
    except FileNotFoundError as missing:
        if missing.filename in FOREIGN:
            pytest.skip(f"{missing.filename} is not installed")
        raise


INVENTED = frozenset({"name_bad", "topic_taken", "csr_key_taken"})
"""Codes that tests make up."""
DOCUMENTED = frozenset(
    re.findall(
        r"^\| `(\w+)` \|",
        (Path(__file__).resolve().parent.parent / "docs" / "findings.md").read_text(),
        re.MULTILINE,
    )
)


@pytest.fixture(autouse=True)
def every_code_is_documented(monkeypatch: pytest.MonkeyPatch) -> Generator[None]:
    """However a code came about, docs/findings.md has it."""
    met: set[str] = set()
    make = Finding.__init__

    def note(self: Finding, code: str, *rest: Any, **named: Any) -> None:
        met.add(code)
        make(self, code, *rest, **named)

    monkeypatch.setattr(Finding, "__init__", note)
    yield
    assert not met - DOCUMENTED - INVENTED, "run `python docs/make_findings.py`"
