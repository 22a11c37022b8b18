"""What the database is told about standing is what the planner and the report decide."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import insert, update
from sqlmodel import Session, col

from lifecycle.vendor import customer_search, reporting
from lifecycle.vendor.customer_search import PAGE, FoundPage, Wanted, find, tags
from lifecycle.vendor.customer_standing import counts_of, standing, status_counts
from lifecycle.vendor.database import Database
from lifecycle.vendor.facts import Policy
from lifecycle.vendor.migrations import upgrade
from lifecycle.vendor.models import Certificate, Customer
from lifecycle.vendor.overview import LISTED, overview
from lifecycle.vendor.plan import opens_at
from lifecycle.vendor.report import Report
from lifecycle.vendor.report_metrics import _is_to_be_checked
from lifecycle.vendor.report_weeks import chart_of
from lifecycle.vendor.report_work import is_held
from tests.vendor.registries import DAY, NOW, fill

POLICY = Policy()
CUSTOMERS = 1200


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    url = f"sqlite:///{tmp_path_factory.mktemp('registry') / 'vendor.sqlite'}"
    upgrade(url)
    made = Database(url)
    with made.transaction() as session:
        fill(session, CUSTOMERS)
    yield made
    made.close()


@pytest.fixture
def session(database: Database) -> Iterator[Session]:
    with database.reading() as opened:
        yield opened


@pytest.fixture(scope="module")
def report(database: Database) -> Report:
    return reporting.build(database, POLICY, NOW)


def everybody(session: Session, wanted: Wanted) -> list[str]:
    """The slugs on all pages, in order."""
    slugs: list[str] = []
    pages = 1
    while len(slugs) < pages * PAGE:
        page = len(slugs) // PAGE + 1
        found = find(session, replace(wanted, page=page), POLICY, NOW)
        pages = found.pages
        slugs += [row.slug for row in found.rows]
        if page >= pages:
            break
    return slugs


@pytest.mark.parametrize("days", [0, 0.3, 1, 5, 7, 30, 44, 46, 370])
def test_status_and_who_acts_are_what_the_report_says_at_any_time(
    database: Database, days: float
) -> None:
    """One query for each customer's answer would be no use; all of them are compared."""
    at = NOW + timedelta(days=days)
    decided = reporting.build(database, POLICY, at)
    with database.reading() as session:
        said = standing(session, POLICY, at)
        rows = session.execute(
            said.select(col(Customer.slug), said.status, said.acts, said.verdict, said.held)
        )
        found = {slug: (status, acts, verdict, held) for slug, status, acts, verdict, held in rows}
    assert len(found) == len(decided.rows)
    for row in decided.rows:
        assert found[row.slug] == (row.status, row.acts, row.verdict, is_held(row)), row.slug


def test_the_made_up_customers_cover_every_status_and_actor(report: Report) -> None:
    """Or the test above shows nothing."""
    assert len(report.counts) == 7
    assert {row.acts for row in report.rows} == {"vendor", "instance", "customer", "nobody"}
    assert {row.verdict for row in report.rows} == {None, "isolated", "breached", "inconclusive"}


def test_counts_by_status_are_the_reports(session: Session, report: Report) -> None:
    counts = status_counts(session, standing(session, POLICY, NOW))
    assert list(counts.items()) == list(report.counts.items())


def test_a_statement_has_as_many_parameters_however_many_end_within_the_spread(
    database_url: str,
) -> None:
    """A database takes some thousands of them; of ten million customers more end in a week."""
    database = Database(database_url)
    parameters = []
    with database.trial() as session:
        for numbers in (range(1, 11), range(11, 301)):
            rows = [_ends_within_the_spread(number) for number in numbers]
            session.execute(insert(Customer), [customer for customer, _ in rows])
            session.execute(insert(Certificate), [certificate for _, certificate in rows])
            at = standing(session, POLICY, NOW)
            compiled = at.select(at.status).compile(
                session.get_bind(), compile_kwargs={"render_postcompile": True}
            )
            parameters.append(len(compiled.params))
            opened = sum(opens_at(Ends(c["not_after"]), slug_of(c), POLICY) <= NOW for _, c in rows)
            assert 0 < opened < len(rows)
        counts = status_counts(session, at)
    database.close()
    assert parameters[0] == parameters[1]
    ends = [_ends_within_the_spread(number)[1] for number in range(1, 301)]
    due = sum(opens_at(Ends(c["not_after"]), slug_of(c), POLICY) <= NOW for c in ends)
    assert counts == {"due": due, "ok": 300 - due}


def slug_of(certificate: dict[str, Any]) -> str:
    return f"c{certificate['customer_id']}"


@dataclass
class Ends:
    not_after: datetime


def _ends_within_the_spread(number: int) -> tuple[dict[str, Any], dict[str, Any]]:
    end = NOW + POLICY.window - POLICY.spread / 2
    customer = {
        "id": number,
        "slug": f"c{number}",
        "name": "x",
        "email": "it@x.example",
        "kind": "customer",
        "created_at": NOW,
        "remote": False,
    }
    certificate = {
        "id": number,
        "customer_id": number,
        "state": "active",
        "topic": f"t{number}",
        "serial": f"{number:X}",
        "common_name": "x",
        "issuer": "x",
        "fingerprint": f"{number:064x}",
        "key_fingerprint": f"{number:064x}",
        "not_before": NOW,
        "not_after": end,
        "der": b"",
        "names_responder": False,
        "recorded_at": NOW,
    }
    return customer, certificate


@pytest.mark.parametrize("from_the_top", [0, 3, 100])
def test_most_urgent_first_is_the_order_of_the_report(
    session: Session, report: Report, monkeypatch: pytest.MonkeyPatch, from_the_top: int
) -> None:
    monkeypatch.setattr(customer_search, "FROM_THE_TOP", from_the_top)
    assert everybody(session, Wanted()) == [row.slug for row in report.rows]


def test_pages_leave_nobody_out_and_show_nobody_twice(session: Session, report: Report) -> None:
    for order in ("expiry", "name", "slug"):
        slugs = everybody(session, Wanted(order=order))
        assert len(slugs) == len(set(slugs)) == len(report.rows)
    assert everybody(session, Wanted(order="slug")) == sorted(row.slug for row in report.rows)


def test_a_page_past_the_end_is_the_last_one_and_one_before_the_first_is_the_first(
    session: Session,
) -> None:
    last = find(session, Wanted(page=10_000), POLICY, NOW)
    assert last.page == last.pages
    assert last.last == last.total
    assert find(session, Wanted(page=-3), POLICY, NOW).first == 1


@pytest.mark.parametrize("status", ["expired", "due", "ok", "paused", "no_certificate"])
def test_a_status_finds_its_customers(session: Session, report: Report, status: str) -> None:
    wanted = {row.slug for row in report.rows if row.status == status}
    assert set(everybody(session, Wanted(status=status))) == wanted


@pytest.mark.parametrize("acts", ["vendor", "instance", "customer"])
def test_who_must_act_finds_its_customers(session: Session, report: Report, acts: str) -> None:
    wanted = {row.slug for row in report.rows if row.acts == acts}
    assert set(everybody(session, Wanted(acts=acts))) == wanted


@pytest.mark.parametrize("trouble", ["held", "breached", "unproven"])
def test_a_trouble_finds_its_customers(session: Session, report: Report, trouble: str) -> None:
    wanted = {
        row.slug
        for row in report.rows
        if {
            "held": is_held(row),
            "breached": row.verdict == "breached",
            "unproven": row.verdict is None and _is_to_be_checked(row),
        }[trouble]
    }
    assert wanted
    assert set(everybody(session, Wanted(trouble=trouble))) == wanted


def test_silent_instances_are_those_that_asked_once_and_no_more(session: Session) -> None:
    """Numbers divisible by 8 are revoked; odd ones have no instance."""
    silent = {int(slug[-5:]) for slug in everybody(session, Wanted(trouble="silent"))}
    without = {int(slug[-5:]) for slug in everybody(session, Wanted(trouble="without"))}
    assert silent
    assert all(number % 2 == 0 and number % 8 for number in silent)
    assert all(number % 2 or number % 8 == 0 for number in without)
    at = standing(session, POLICY, NOW)
    assert counts_of(session, at, {"now": at.silent}) == {"now": len(silent)}
    late = standing(session, POLICY, NOW + 2 * DAY)
    assert counts_of(session, late, {"later": late.silent})["later"] > len(silent)


def one(found: FoundPage) -> str:
    assert found.total == 1
    return found.rows[0].slug


def test_words_look_in_name_slug_addresses_account_topic_and_serial(
    session: Session, report: Report
) -> None:
    row = next(r for r in report.rows if r.slug == "customer-00042")
    assert row.topic is not None
    assert row.serial is not None
    for words in (
        "00042",
        "IT@customer-00042.EXAMPLE",
        "push@customer-00042",
        row.topic,
        row.topic[-12:].upper(),
        row.serial.lower(),
        f"{row.name.split()[0]} {row.slug}",
    ):
        assert one(find(session, Wanted(words=words), POLICY, NOW)) == row.slug, words


def test_the_serial_of_a_certificate_that_is_superseded_finds_its_customer(
    session: Session,
) -> None:
    old = session.get_one(Certificate, 10 * 42)
    assert old.state == "superseded"
    assert one(find(session, Wanted(words=old.serial), POLICY, NOW)) == "customer-00042"


def test_small_letters_find_capitals_beyond_ascii(session: Session, report: Report) -> None:
    wanted = {row.slug for row in report.rows if "Óptima" in row.name}
    assert wanted
    assert set(everybody(session, Wanted(words="óptima"))) == wanted
    assert set(everybody(session, Wanted(words="ÓPTIMA"))) == wanted


@pytest.mark.parametrize("words", ["%", "_", "100%", "customer_00042", "' OR 1=1 --"])
def test_what_means_something_to_the_database_is_looked_for_as_it_is(
    session: Session, words: str
) -> None:
    assert find(session, Wanted(words=words), POLICY, NOW).total == 0


def test_filters_that_nobody_knows_are_left_aside(session: Session, report: Report) -> None:
    found = find(session, Wanted(status="x", acts="y", trouble="z", order="w"), POLICY, NOW)
    assert found.total == len(report.rows)


def test_a_tag_finds_its_customers_and_tags_are_listed(session: Session, report: Report) -> None:
    wanted = {row.slug for row in report.rows if "region:emea" in row.tags}
    assert set(everybody(session, Wanted(tag="region:emea"))) == wanted
    assert tags(session) == ["region:emea"]
    assert find(session, Wanted(tag="nowhere"), POLICY, NOW).total == 0


def test_the_overview_says_what_the_report_says(session: Session, report: Report) -> None:
    seen = overview(session, POLICY, NOW)
    assert seen.customers == len(report.rows)
    assert seen.chart == chart_of(report)
    held = [row for row in report.rows if is_held(row)]
    assert seen.held_total == len(held)
    longest = sorted(held, key=lambda row: (row.blocked_since or NOW, row.slug))
    assert [row.slug for row in seen.held] == [row.slug for row in longest[:LISTED]]
    assert seen.breached == sum(row.verdict == "breached" for row in report.rows)
    assert seen.waiting == {
        who: sum(row.acts == who for row in report.rows)
        for who in ("vendor", "instance", "customer")
    }
    pressing = [
        row
        for row in report.rows
        if not is_held(row)
        and (row.verdict == "breached" or row.status in ("expired", "revoked", "urgent"))
    ]
    assert [row.slug for row in seen.pressing] == [row.slug for row in pressing[:LISTED]]
    assert seen.pressing_total == len(pressing)
    assert seen.signers == ()


def test_an_empty_registry_has_an_overview_too(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'vendor.sqlite'}"
    upgrade(url)
    database = Database(url)
    with database.reading() as session:
        seen = overview(session, POLICY, NOW)
        found = find(session, Wanted(), POLICY, NOW)
    database.close()
    assert (seen.customers, seen.held, seen.undelivered) == (0, (), 0)
    assert (found.total, found.page, found.pages, found.first) == (0, 1, 1, 0)


def test_the_day_a_pause_ends_the_customer_stands_somewhere_again(database: Database) -> None:
    with database.transaction() as session:
        session.execute(
            update(Customer)
            .where(col(Customer.slug) == "customer-00044")
            .values(paused_at=NOW, paused_until=NOW + DAY)
        )
    for days, paused in ((0, True), (1, False)):
        with database.reading() as session:
            at = standing(session, POLICY, NOW + days * DAY)
            status = session.execute(
                at.select(at.status).where(col(Customer.slug) == "customer-00044")
            ).scalar_one()
        assert (status == "paused") is paused
