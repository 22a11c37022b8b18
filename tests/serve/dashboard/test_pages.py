"""What the pages show, and that they find it in a registry of thousands."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta

import pytest
from sqlalchemy import event, text

from lifecycle.vendor import audit, registry, store, sweeps
from lifecycle.vendor.facts import CustomerKind, RenewalReason
from lifecycle.vendor.models import IsolationCheck, OutboxMessage
from tests.serve.dashboard.conftest import BuildOps, Ops, Visitor, certify
from tests.vendor.registries import DAY, NOW, fill
from tests.vendor.report_rows import HOSTILE


@pytest.fixture
def many(build_ops: BuildOps) -> Ops:
    """5,000 customers."""
    ops = build_ops()
    with ops.served.database.transaction() as session:
        fill(session, 5000, at=NOW)
    return ops


@contextmanager
def statements(ops: Ops) -> Iterator[list[str]]:
    """The statements that the server sends to the database meanwhile."""
    seen: list[str] = []

    def note(_c: object, _k: object, statement: str, *_: object) -> None:
        seen.append(statement)

    event.listen(ops.served.database.engine, "before_cursor_execute", note)
    yield seen
    event.remove(ops.served.database.engine, "before_cursor_execute", note)


def slugs(visitor: Visitor) -> list[str]:
    return list(dict.fromkeys(re.findall(r'href="/customers/(customer-\d+)"', visitor.page.text)))


def test_pages_of_thousands_are_small_and_take_few_queries(many: Ops) -> None:
    vera = many.signed_in("vera")
    for path in (
        "/",
        "/customers",
        "/customers?q=customer",
        "/isolation",
        "/customers/customer-00128",
    ):
        with statements(many) as seen:
            assert vera.get(path).status_code == 200
        assert len(vera.page.content) < 80_000, path
        assert len(seen) < 60, path


def test_the_list_is_searched_filtered_and_paged(many: Ops) -> None:
    vera = many.signed_in("vera")
    vera.get("/customers")
    assert "1 to 50 of 4,975 customers" in vera.words()
    first = slugs(vera)
    assert len(first) == 50
    following = re.search(r'rel="next" href="([^"]+)"', vera.page.text)
    assert following is not None
    vera.get(following[1].replace("&amp;", "&"))
    assert "51 to 100 of 4,975 customers" in vera.words()
    assert not set(first) & set(slugs(vera))
    vera.get("/customers?status=expired&tag=region:emea&order=name&page=2")
    assert 'value="expired" selected' in vera.page.text
    assert "region:emea&amp;order=name&amp;page=1" not in vera.page.text, "page 1 needs no number"
    assert re.search(
        r'rel="prev" href="/customers\?status=expired&amp;tag=region%3Aemea&amp;order=name"',
        vera.page.text,
    )
    vera.get("/customers?q=customer-00042")
    assert slugs(vera) == ["customer-00042"]
    vera.get("/customers?q=nobody+is+called+that")
    assert "No customer fits." in vera.words()
    vera.get("/customers?page=9999")
    assert "4,951 to 4,975 of 4,975 customers" in vera.words()


def test_every_number_of_the_overview_leads_to_just_those_customers(many: Ops) -> None:
    vera = many.signed_in("vera")
    vera.get("/")
    tiles = re.findall(r'<a href="(/customers\?[^"]+)"><b>([\d,]+)</b>', vera.page.text)
    assert len(tiles) >= 10
    rows = re.findall(
        r'<a href="(/customers\?acts=\w+)">\w+</a></th><td class="number">([\d,]+)', vera.page.text
    )
    assert len(rows) == 3
    for path, count in tiles + rows:
        vera.get(path.replace("&amp;", "&"))
        assert re.search(rf"of {count} customers?\b", vera.words()), path


def test_a_name_that_means_harm_is_shown_as_it_is_on_every_page(many: Ops) -> None:
    anna = many.signed_in("anna")
    for path in (
        "/customers?q=customer-00007",
        "/customers/customer-00007",
        "/customers/customer-00007/renew",
    ):
        anna.get(path)
        assert HOSTILE in anna.words() or HOSTILE.split("<")[1].split(">")[1] in anna.page.text
        assert "<script>document" not in anna.page.text
        assert "<img src=//" not in anna.page.text


def test_words_that_mean_harm_come_back_as_words(many: Ops) -> None:
    vera = many.signed_in("vera")
    vera.get('/customers?q="><script>alert(1)</script>&status="onload=x')
    assert "<script>alert" not in vera.page.text
    vera.get('/audit?subject="><script>alert(1)</script>')
    assert "<script>alert" not in vera.page.text
    vera.get("/customers/customer-00042?done=<script>")
    assert "<script>" not in vera.page.text


def test_the_timeline_has_entries_and_messages_newest_first_and_goes_on(ops: Ops) -> None:
    ops.add("acme")
    vera = ops.signed_in("vera")
    with ops.served.database.transaction() as session:
        customer = store.customer_by_slug(session, "acme")
        for number in range(60):
            at = ops.clock.now() + number * timedelta(hours=1)
            audit.append(
                session,
                at=at,
                actor="worker",
                action="renewal_opened" if number % 2 else "something_new",
                subject="acme",
                detail={"renewal": number, "reason": "expiry"},
            )
            if number % 3 == 0:
                session.add(_message(customer.id, number, at))
    seen: list[str] = []
    path: str | None = "/customers/acme"
    pages = 0
    while path is not None:
        vera.get(path)
        section = vera.page.text.split('id="timeline"')[1].split('id="history"')[0]
        seen += re.findall(r'<strong class="[^"]*">([^<]+)</strong>', section)
        older = re.search(r'rel="next" href="([^"#]+)', section)
        path = None if older is None else older[1].replace("&amp;", "&")
        pages += 1
    assert pages == 3
    assert len(seen) == 60 + 20 + 1
    assert seen[0] == "Renewal 59 opened (expiry)"
    assert seen[-1] == "Customer added"
    assert seen.count("Something new") + seen.count("something new") == 30
    assert sum(what.startswith("Reminder") for what in seen) == 20


def _message(customer_id: int | None, number: int, at: datetime) -> OutboxMessage:
    return OutboxMessage(
        dedupe_key=f"k{number}",
        kind="reminder",
        customer_id=customer_id,
        recipients=["it@acme.example"],
        subject=f"Renew it {number}",
        body="",
        created_at=at,
    )


def test_a_clock_that_was_put_back_hides_no_entry(ops: Ops) -> None:
    ops.add("acme")
    with ops.served.database.transaction() as session:
        for number in range(100):
            audit.append(
                session,
                at=ops.clock.now() + timedelta(hours=(number * 37) % 50),
                actor="worker",
                action="renewal_opened",
                subject="acme",
                detail={"renewal": number, "reason": "expiry"},
            )
    vera = ops.signed_in("vera")
    seen: set[str] = set()
    path: str | None = "/customers/acme"
    while path is not None:
        vera.get(path)
        seen |= set(re.findall(r"Renewal (\d+) opened", vera.page.text))
        older = re.search(r'rel="next" href="([^"#]+)', vera.page.text)
        path = None if older is None else older[1].replace("&amp;", "&")
    assert len(seen) == 100


def test_the_customers_page_says_what_is_in_the_way_and_who_must_act(ops: Ops) -> None:
    ops.add("acme")
    with ops.served.database.transaction() as session:
        certify(session, "acme", ends_in=5, now_of=ops.clock)
        customer = store.customer_by_slug(session, "acme")
        renewal = registry.open_renewal(
            session, customer, RenewalReason.EXPIRY, at=ops.clock.now(), actor="worker"
        )
        renewal.blocked_code = "signer_missing"
        renewal.blocked_message = "There is none. Import one with `pushcert signer import`."
        renewal.blocked_at = ops.clock.now() - 3 * DAY
        customer.notes = "Ask for <Ann>,\nshe knows."
        session.add_all([renewal, customer])
    vera = ops.signed_in("vera")
    vera.get("/customers/acme")
    assert "held up for 3 days; vendor must act." in vera.words()
    assert "<code>pushcert signer import</code>" in vera.page.text
    assert "Ask for &lt;Ann&gt;" in vera.page.text
    vera.get("/")
    assert "Held up for 3 days:" in vera.words()


def test_isolation_shows_verdicts_runs_and_what_each_probe_was_answered(ops: Ops) -> None:
    ops.add("acme")
    ops.add("birch")
    with ops.served.database.transaction() as session:
        certify(session, "acme", ends_in=200, now_of=ops.clock)
        certify(session, "birch", ends_in=200, now_of=ops.clock)
        customer = store.customer_by_slug(session, "acme")
        active = store.active_certificate(session, customer)
        assert active is not None
        run = sweeps.begin(session, at=ops.clock.now(), actor="operator:root", since=None)
        session.add(
            IsolationCheck(
                customer_id=store.key_of(customer),
                certificate_id=store.key_of(active),
                ordered_at=ops.clock.now(),
                concluded_at=ops.clock.now(),
                verdict="breached",
                why="APNs took it.",
                run_id=run.id,
                answers=[
                    {"probe": "foreign_token", "status": 200, "reason": None, "fault": None},
                    {"probe": "own", "status": None, "reason": None, "fault": "apns_unreachable"},
                ],
            )
        )
    vera = ops.signed_in("vera")
    vera.get("/isolation")
    words = vera.words()
    assert "1breached" in words
    assert "1never proven" in words
    assert "APNs took it." in words
    assert "1 yet to check" in words
    assert "birch" in words
    vera.get("/customers/acme")
    assert "Isolation is breached. APNs took it." in vera.words()
    assert "foreign token: 400 DeviceTokenNotForTopic; 200" in vera.words()
    assert "own: 200; apns_unreachable" in vera.words()


def test_a_canary_tenant_is_called_so_and_not_unchecked(ops: Ops) -> None:
    with ops.served.database.transaction() as session:
        new = registry.NewCustomer("ours", "Ours", "o@v.example", None, CustomerKind.CANARY)
        registry.add(session, new, at=ops.clock.now(), actor="operator:root")
    vera = ops.signed_in("vera")
    assert "the vendor's own canary tenant" in (vera.get("/customers/ours"), vera.words())[1]
    assert "canary" in (vera.get("/customers"), vera.words())[1]


# The audit page


@pytest.fixture
def logged(ops: Ops) -> Ops:
    for slug in ("acme", "birch"):
        ops.add(slug)
    with ops.served.database.transaction() as session:
        for number in range(250):
            audit.append(
                session,
                at=ops.clock.now(),
                actor="user:anna" if number % 50 == 0 else "worker",
                action="request_signed",
                subject="acme" if number % 2 else "birch",
                detail={"renewal": number},
            )
    return ops


def numbers(visitor: Visitor) -> list[int]:
    return [int(n) for n in re.findall(r'data-label="No\.">(\d+)<', visitor.page.text)]


def test_the_audit_log_is_filtered_and_paged(logged: Ops) -> None:
    vera = logged.signed_in("vera")
    vera.get("/audit")
    newest = numbers(vera)
    assert len(newest) == 100
    assert newest == sorted(newest, reverse=True)
    older = re.search(r'rel="next" href="([^"]+)"', vera.page.text)
    assert older is not None
    vera.get(older[1].replace("&amp;", "&"))
    assert numbers(vera)[0] == newest[-1] - 1
    vera.get("/audit?subject=acme&action=request_signed")
    assert len(numbers(vera)) == 100
    vera.get("/audit?actor=anna")
    assert len(numbers(vera)) == 5
    vera.get("/audit?actor=user:vera")
    assert len(numbers(vera)) == 1
    vera.get("/audit?subject=nobody")
    assert "No entry fits." in vera.words()


def test_the_chains_verdict_is_given_on_demand(logged: Ops) -> None:
    vera = logged.signed_in("vera")
    vera.get("/audit")
    vera.page = vera.send("/audit/verdict", expect="")
    head = re.search(r"([0-9a-f]{64})</p></div>", vera.page.text)
    assert head is not None
    assert re.search(r"\d+ entries, whole\.", vera.words())
    vera.page = vera.send("/audit/verdict", expect=head[1])
    assert "whole." in vera.words()
    vera.page = vera.send("/audit/verdict", expect="1" * 64)
    assert "The log is not whole." in vera.words()


def test_a_log_that_was_tampered_with_is_said_with_the_entry(logged: Ops) -> None:
    vera = logged.signed_in("vera")
    with logged.served.database.engine.begin() as connection:
        connection.execute(text("UPDATE audit SET actor = 'user:mallory' WHERE seq = 20"))
    vera.get("/audit")
    vera.page = vera.send("/audit/verdict")
    assert "The log is not whole." in vera.words()
    assert "Entry 20" in vera.words()


def test_an_entry_of_another_version_is_shown_as_it_is(ops: Ops) -> None:
    with ops.served.database.transaction() as session:
        for action, detail in (("customer_paused", {}), ("moved_to_the_moon", {"by": ["a", "b"]})):
            audit.append(
                session,
                at=ops.clock.now(),
                actor="worker",
                action=action,
                subject="acme",
                detail=detail,
            )
    vera = ops.signed_in("vera")
    vera.get("/audit?subject=acme")
    assert "customer paused" in vera.words()
    assert "moved to the moon" in vera.words()
    assert "by: a → b" in vera.words()


@pytest.mark.parametrize("number", [2**63, 10**40, -1, "x"])
def test_a_place_in_the_books_that_there_cannot_be_is_no_address(acme: Ops, number: object) -> None:
    anna = acme.signed_in("anna")
    for address in ("/customers/acme?message=", "/customers/acme?entry=", "/audit?before="):
        assert anna.get(f"{address}{number}").status_code == 422
        assert anna.get(f"{address}{2**63 - 1}").status_code == 200
