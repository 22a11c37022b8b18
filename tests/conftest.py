"""Shared by all tests: in CI a skipped test is a failure; vendor databases of both kinds."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Generator, Iterator
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hypothesis
import pytest
import structlog

from bench.postgres import PostgresServer
from lifecycle.errors import Finding
from tests.building import build
from tests.documents import ROOT

if TYPE_CHECKING:
    from playwright.sync_api import Browser

# No test asserts on how long something took, and no generated example does either.
hypothesis.settings.register_profile("untimed", deadline=None)
hypothesis.settings.load_profile("untimed")


# What the tests start, they start hundreds of times: it is compiled once.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

LONGEST = frozenset(
    {
        "test_distributed_year.py",
        "test_faults.py",
        "test_kill.py",
        "test_rehearsal.py",
        "test_two_years.py",
        "test_wheel.py",
    }
)
"""Files with tests of a minute and more."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest come first: no process is still at one when all others have nothing to do."""
    items.sort(key=lambda item: item.path.name not in LONGEST)


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


FOREIGN = frozenset({"age", "openssl", "node", "keytool"})


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


KINDS = ("sqlite", "postgresql")
"""What the vendor's database may be."""


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """A PostgreSQL server, one for each process that runs tests; made when it is first needed."""
    with PostgresServer() as server:
        yield server


@pytest.fixture(scope="session")
def migrated_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An SQLite database at the newest revision, to be copied."""
    from lifecycle.vendor.migrations import upgrade

    made = tmp_path_factory.mktemp("migrated") / "vendor.sqlite"
    upgrade(f"sqlite:///{made}")
    return made


@pytest.fixture(scope="session")
def migrated_template(postgres: PostgresServer) -> str:
    """A PostgreSQL database at the newest revision, to be copied: that takes 30 ms."""
    from lifecycle.vendor.migrations import upgrade

    upgrade(postgres.create("migrated"))
    return "migrated"


_NUMBERS = count(1)


@pytest.fixture
def postgres_url(postgres: PostgresServer, migrated_template: str) -> Iterator[str]:
    """An empty vendor database on PostgreSQL, at the newest revision."""
    name = f"vendor_{next(_NUMBERS)}"
    yield postgres.create(name, migrated_template)
    postgres.drop(name)


@pytest.fixture
def sqlite_url(tmp_path: Path, migrated_file: Path) -> str:
    """An empty vendor database in SQLite, at the newest revision."""
    shutil.copy(migrated_file, tmp_path / "vendor.sqlite")
    return f"sqlite:///{tmp_path / 'vendor.sqlite'}"


@pytest.fixture(params=KINDS)
def database_url(request: pytest.FixtureRequest) -> str:
    """An empty vendor database at the newest revision: the test runs on each kind."""
    url: str = request.getfixturevalue(
        "sqlite_url" if request.param == "sqlite" else "postgres_url"
    )
    return url


@pytest.fixture(params=KINDS)
def bare_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A vendor database with nothing in it: the test runs on each kind."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'vendor.sqlite'}"
        return
    server: PostgresServer = request.getfixturevalue("postgres")
    name = f"bare_{next(_NUMBERS)}"
    yield server.create(name)
    server.drop(name)
