"""What instances report of their deploy targets reaches vendor ops."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
from sqlmodel import select

from lifecycle.pki.chain import TrustStore
from lifecycle.pki.upload import read_upload
from lifecycle.vendor import deployments, registry, store
from lifecycle.vendor.database import Database
from lifecycle.vendor.desk import Desk
from lifecycle.vendor.facts import Policy
from lifecycle.vendor.migrations import upgrade
from lifecycle.vendor.models import AuditEntry, Certificate, Deployment
from lifecycle.vendor.notices import Letterhead, Notices
from lifecycle.vendor.report import Acts, Report, as_csv, as_json_text
from lifecycle.vendor.report_html import as_html
from lifecycle.vendor.report_metrics import as_metrics_text
from lifecycle.vendor.report_work import is_held, work_of
from lifecycle.vendor.reporting import build
from lifecycle.wire import messages

VECTOR = Path(__file__).parents[1] / "vectors" / "MDM_ Example MDM_Certificate.pem"
NOW = datetime(2027, 6, 1, 9, tzinfo=UTC)
HOUR = timedelta(hours=1)
DENIED = "mdm.example does not accept the API key (it answered 401). Check <where> it is read from."


class Standing:
    """A clock that stands."""

    def __init__(self) -> None:
        self.instant = NOW

    def now(self) -> datetime:
        return self.instant


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    """A registry with ``acme``, who has a certificate, and ``birch``, who has none."""
    url = f"sqlite:///{tmp_path / 'vendor.sqlite'}"
    upgrade(url)
    made = Database(url)
    with made.transaction() as session:
        for slug in ("acme", "birch"):
            new = registry.NewCustomer(slug, slug.title(), f"it@{slug}.example", None)
            registry.add(session, new, at=NOW, actor="test")
        acme = store.customer_by_slug(session, "acme")
        certificate = read_upload(VECTOR.read_bytes()).certificate
        registry.adopt(session, acme, certificate, at=NOW, actor="test")
    yield made
    made.close()


@pytest.fixture
def clock() -> Standing:
    return Standing()


@pytest.fixture
def desk(database: Database, clock: Standing) -> Desk:
    notices = Notices(Letterhead("Example MDM", ()))
    return Desk(database, "acme", clock, TrustStore.apple(), notices)


@pytest.fixture
def fingerprint(database: Database) -> str:
    with database.reading() as session:
        return session.exec(select(Certificate.fingerprint)).one()


def told(fingerprint: str, code: str | None = None, **changes: object) -> messages.Deployment:
    made = messages.Deployment(
        target="nanomdm",
        target_kind="nanomdm",
        fingerprint=fingerprint,
        code=code,
        message=None if code is None else DENIED,
        at=NOW,
        again_at=NOW + HOUR,
    )
    return made.model_copy(update=changes)


def report(database: Database, at: datetime = NOW) -> Report:
    return build(database, Policy(), at)


def audited(database: Database) -> list[str]:
    with database.reading() as session:
        rows = session.exec(select(AuditEntry).order_by(AuditEntry.seq))  # type: ignore[arg-type]
        return [row.action for row in rows if "deploy" in row.action]


class TestRecording:
    def test_a_failure_keeps_the_time_at_which_it_was_first_seen(
        self, database: Database, desk: Desk, clock: Standing, fingerprint: str
    ) -> None:
        def stands() -> tuple[str | None, datetime | None, datetime]:
            with database.reading() as session:
                (row,) = session.exec(select(Deployment))
            return row.code, row.since, row.at

        desk.report(told(fingerprint, "mdm_server_denied"))
        clock.instant += 5 * HOUR
        desk.report(told(fingerprint, "mdm_server_denied"))
        assert stands() == ("mdm_server_denied", NOW, NOW + 5 * HOUR)
        clock.instant += HOUR
        desk.report(told(fingerprint, "mdm_server_down"))
        assert stands() == ("mdm_server_down", NOW + 6 * HOUR, NOW + 6 * HOUR)
        desk.report(told(fingerprint))
        assert stands()[:2] == (None, None)

    @pytest.mark.parametrize("year", [1, 1970, 9999])
    def test_an_instance_whose_clock_is_wrong_does_no_harm(
        self, database: Database, desk: Desk, fingerprint: str, year: int
    ) -> None:
        wrong = datetime(year, 1, 1, tzinfo=timezone(timedelta(hours=14)))
        desk.report(told(fingerprint, "mdm_server_denied", at=wrong, again_at=wrong))
        with database.reading() as session:
            (row,) = session.exec(select(Deployment))
        assert (row.at, row.since, row.next_at) == (NOW, NOW, None)

    def test_only_changes_are_in_the_audit_log(
        self, database: Database, desk: Desk, fingerprint: str
    ) -> None:
        for _ in range(3):
            desk.report(told(fingerprint, "mdm_server_denied"))
        for _ in range(3):
            desk.report(told(fingerprint))
        assert audited(database) == ["deployment_failed", "certificate_deployed"]

    def test_a_target_that_was_removed_is_gone_from_the_report(
        self, database: Database, desk: Desk, fingerprint: str
    ) -> None:
        desk.report(told(fingerprint, "mdm_server_denied"))
        desk.report(told(fingerprint, removed=True))
        assert report(database).rows[0].deployments == ()
        desk.report(told(fingerprint, removed=True))
        assert audited(database)[-1] == "deploy_target_removed"
        assert audited(database).count("deploy_target_removed") == 1


class TestWhoseTurnItIs:
    def due(self, database: Database, at: datetime = NOW, **targets: str | None) -> list[str]:
        with database.reading() as session:
            return deployments.due(session, targets, at)

    def test_a_customer_with_a_certificate_and_a_target_that_was_never_looked_at(
        self, database: Database
    ) -> None:
        assert self.due(database, nanomdm=None) == ["acme"]
        assert self.due(database, nanomdm="acme") == ["acme"]
        assert self.due(database, nanomdm="birch") == [], "birch has no certificate"
        assert self.due(database) == []

    def test_nobody_before_the_time_has_come(
        self, database: Database, desk: Desk, fingerprint: str
    ) -> None:
        for code in ("mdm_server_denied", None):
            desk.report(told(fingerprint, code))
            assert self.due(database, nanomdm=None) == []
            assert self.due(database, NOW + HOUR, nanomdm=None) == ["acme"]

    def test_a_further_target(self, database: Database, desk: Desk, fingerprint: str) -> None:
        desk.report(told(fingerprint))
        assert self.due(database, nanomdm=None, files=None) == ["acme"]

    def test_a_target_that_is_no_longer_configured(
        self, database: Database, desk: Desk, fingerprint: str
    ) -> None:
        desk.report(told(fingerprint))
        assert self.due(database) == ["acme"]

    def test_a_certificate_that_the_target_was_never_tried_with(
        self, database: Database, desk: Desk
    ) -> None:
        desk.report(told("0" * 64))
        assert self.due(database, nanomdm=None) == ["acme"]

    def test_nobody_who_is_paused_or_has_left(self, database: Database) -> None:
        with database.transaction() as session:
            acme = store.customer_by_slug(session, "acme")
            registry.pause(session, acme, "on hold", at=NOW, actor="test")
        assert self.due(database, nanomdm=None) == []


class TestReport:
    @pytest.fixture
    def failing(self, database: Database, desk: Desk, fingerprint: str) -> Report:
        desk.report(told(fingerprint, "mdm_server_denied"))
        desk.report(told(fingerprint, target="files", target_kind="files"))
        return report(database, NOW + 50 * HOUR)

    def test_the_document_has_every_target_with_what_is_wrong(self, failing: Report) -> None:
        row = next(r for r in json.loads(as_json_text(failing))["customers"] if r["slug"] == "acme")
        assert row["deployments"] == [
            {
                "target": "files",
                "kind": "files",
                "code": None,
                "message": None,
                "since": None,
                "at": NOW.isoformat(),
            },
            {
                "target": "nanomdm",
                "kind": "nanomdm",
                "code": "mdm_server_denied",
                "message": DENIED,
                "since": NOW.isoformat(),
                "at": NOW.isoformat(),
            },
        ]

    def test_the_instance_must_act_and_it_counts_as_held_up(self, failing: Report) -> None:
        row = next(r for r in failing.rows if r.slug == "acme")
        assert (row.acts, row.next_step) == (Acts.INSTANCE, "instance deploys to nanomdm again")
        assert is_held(row)
        (work,) = [w for w in work_of(failing.rows) if w.blocked_by == "mdm_server_denied"]
        assert (work.acts, work.customers, work.slugs, work.since) == (
            "instance",
            1,
            ("acme",),
            NOW,
        )
        assert work.what.startswith("not deployed to nanomdm: mdm.example does not accept")
        assert not [w for w in work_of(failing.rows) if w.what == row.next_step], "said once"

    def test_csv_has_it_in_one_cell(self, failing: Report) -> None:
        rows = {r["slug"]: r for r in csv.DictReader(io.StringIO(as_csv(failing)))}
        assert rows["acme"]["deployments"] == "files:deployed nanomdm:mdm_server_denied"
        assert rows["birch"]["deployments"] == ""

    def test_the_page_says_it_and_runs_nothing_that_an_instance_wrote(
        self, failing: Report
    ) -> None:
        page = "".join(as_html(failing, "Example MDM"))
        assert "Not deployed to nanomdm for 2 days:" in page
        assert "Check &lt;where&gt; it is read from." in page
        assert "<where>" not in page

    def test_the_metrics_say_since_when(self, failing: Report) -> None:
        line = (
            'pushcert_deployment_failing_timestamp_seconds{code="mdm_server_denied",'
            'customer="acme",target="nanomdm"} '
        )
        (found,) = [t for t in as_metrics_text(failing).splitlines() if t.startswith(line)]
        assert float(found.removeprefix(line)) == NOW.timestamp()

    def test_a_paused_customer_is_not_held_up(self, failing: Report) -> None:
        row = next(r for r in failing.rows if r.slug == "acme")
        paused = replace(row, status="paused", acts=str(Acts.NOBODY))
        assert not is_held(paused)
        assert not [w for w in work_of([paused]) if w.blocked_by]

    def test_once_it_is_deployed_nobody_must_act(
        self, database: Database, desk: Desk, fingerprint: str
    ) -> None:
        desk.report(told(fingerprint, "mdm_server_denied"))
        desk.report(told(fingerprint))
        row = next(r for r in report(database).rows if r.slug == "acme")
        assert row.acts == Acts.NOBODY
        assert not is_held(row)


@pytest.mark.parametrize(
    "change",
    [
        {"target": "../../etc"},
        {"code": "Not A Code"},
        {"message": "x" * 1001},
        {"fingerprint": "no hash"},
        {"key": "-----BEGIN PRIVATE KEY-----"},
    ],
)
def test_the_message_has_room_for_nothing_else(change: dict[str, str]) -> None:
    good = told("0" * 64, "mdm_server_denied").model_dump(mode="json")
    messages.Deployment.model_validate(good)
    with pytest.raises(ValueError, match="validation error"):
        messages.Deployment.model_validate({**good, **change})
