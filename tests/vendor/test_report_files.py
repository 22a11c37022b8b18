"""The report as calendar, metrics and groups; the alert rules and the dashboard that go with it."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import icalendar
import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from cli.report_table import print_who
from lifecycle.vendor.report import BouncedAddress, Report, as_csv, as_json_text
from lifecycle.vendor.report_calendar import as_calendar
from lifecycle.vendor.report_metrics import as_metrics_text
from lifecycle.vendor.report_weeks import WEEKS, chart_of, chart_of_counts
from lifecycle.vendor.report_who import who
from lifecycle.vendor.report_work import BREACH, work_of
from tests.vendor.report_rows import DAY, HOSTILE, NOW, many

DOCS = Path(__file__).resolve().parents[2] / "docs"


def events(data: bytes) -> dict[str, Any]:
    calendar = icalendar.Calendar.from_ical(data)
    found = list(calendar.walk("VEVENT"))
    assert len({str(event["uid"]) for event in found}) == len(found)
    return {str(event["uid"]): event for event in found}


def renewed(report: Report, slug: str) -> Report:
    """The report after the renewal of one customer, a day later."""
    rows = tuple(
        replace(row, not_after=row.not_after + 365 * DAY, serial="0NEW")
        if row.slug == slug and row.not_after is not None
        else row
        for row in report.rows
    )
    return replace(report, rows=rows, at=report.at + DAY)


def test_the_calendar_has_an_event_for_each_expiry_and_each_signer() -> None:
    report = many(200)
    found = events(as_calendar(report, "Example MDM"))
    ends = [row.not_after for row in report.rows if row.not_after is not None]
    assert len(found) == len(ends) + len(report.signers)
    assert sorted(event["dtend"].dt for event in found.values()) == sorted(
        [*ends, *(signer.not_after for signer in report.signers)]
    )


def test_a_second_import_yields_no_new_uid_and_a_renewal_moves_the_event() -> None:
    report = many(200)
    moved = next(row for row in report.rows if row.not_after is not None)
    first = events(as_calendar(report, "Example MDM"))
    second = events(as_calendar(renewed(report, moved.slug), "Example MDM"))
    assert set(second) == set(first)
    changed = [uid for uid in first if first[uid]["dtend"].dt != second[uid]["dtend"].dt]
    (uid,) = changed
    assert second[uid]["sequence"] > first[uid]["sequence"]
    assert second[uid]["dtstamp"].dt > first[uid]["dtstamp"].dt
    assert "0NEW" in second[uid]["description"]
    assert {uid: e["sequence"] for uid, e in first.items() if uid not in changed} == {
        uid: e["sequence"] for uid, e in second.items() if uid not in changed
    }


def test_another_vendor_has_other_events() -> None:
    assert not set(events(as_calendar(many(20), "A"))) & set(events(as_calendar(many(20), "B")))


def test_events_have_alarms_and_those_of_paused_customers_none() -> None:
    report = many(300)
    found = events(as_calendar(report, "Example MDM"))
    paused = 0
    for event in found.values():
        alarms = [alarm["trigger"].dt for alarm in event.walk("VALARM")]
        if (
            "paused" in [str(c) for c in event.get("categories").cats]
            if event.get("categories")
            else False
        ):
            assert alarms == []
            paused += 1
        else:
            assert alarms == [timedelta(days=-days) for days in (30, 14, 7, 1)]
    assert paused > 0


def test_hostile_names_stay_in_their_property() -> None:
    report = many(20)
    (event,) = [
        e for e in events(as_calendar(report, "E")).values() if "owned" in str(e["summary"])
    ]
    assert str(event["summary"]) == f"Push certificate of {HOSTILE} expires"


def test_characters_that_act_instead_of_being_seen_do_not_get_into_the_calendar() -> None:
    report = many(3)
    named = replace(report.rows[0], name="A\x00B\r\nEND:VEVENT\u202e", next_step="x\x1b[2J\ny")
    data = as_calendar(replace(report, rows=(named,)), "E")
    assert not set(data) & ({*range(32)} - {10, 13})
    (event, *_) = events(data).values()
    assert str(event["summary"]) == "Push certificate of AB END:VEVENT expires"


def test_an_event_says_what_the_portal_shows_and_keeps_nobodys_time_busy() -> None:
    report = many(300)
    by_name = {str(e["summary"]): e for e in events(as_calendar(report, "E")).values()}
    for row in report.rows:
        if row.not_after is None or row.name == HOSTILE:
            continue
        event = by_name[f"Push certificate of {row.name} expires"]
        for words in (row.common_name, row.serial, row.topic, row.apple_account or "not known"):
            assert str(words) in event["description"]
        assert event["status"] == ("TENTATIVE" if row.status == "paused" else "CONFIRMED")
        assert event["transp"] == "TRANSPARENT"


def test_two_signers_of_one_name_have_two_events() -> None:
    report = many(1)
    twins = (report.signers[0], replace(report.signers[0], not_after=NOW + 90 * DAY))
    one = events(as_calendar(replace(report, rows=(), signers=twins[:1]), "E"))
    both = events(as_calendar(replace(report, rows=(), signers=twins), "E"))
    assert len(both) == 2
    assert set(one) < set(both), "the first keeps its UID when another comes"


def samples(report: Report) -> dict[str, list[Any]]:
    return {
        family.name: list(family.samples)
        for family in text_string_to_metric_families(as_metrics_text(report))
    }


def test_the_metrics_are_read_by_prometheus_parser_and_say_what_the_report_says() -> None:
    report = many(500)
    found = samples(report)
    ends = {
        (s.labels["customer"], s.labels["topic"]): s.value
        for s in found["pushcert_certificate_not_after_timestamp_seconds"]
    }
    assert ends == {
        (row.slug, row.topic): row.not_after.timestamp()
        for row in report.rows
        if row.not_after is not None and row.status != "paused"
    }
    by_status = {s.labels["status"]: s.value for s in found["pushcert_customers"]}
    assert {k: v for k, v in by_status.items() if v} == report.counts
    assert "revoked" in by_status, "a status without customers must be 0 and not missing"
    (at,) = found["pushcert_report_timestamp_seconds"]
    assert datetime.fromtimestamp(at.value, UTC) == NOW
    (undelivered,) = found["pushcert_messages_undelivered"]
    assert undelivered.value == 2
    assert {s.labels["customer"] for s in found["pushcert_isolation_breached"] if s.value} == {
        "customer-00008"
    }
    blocked = found["pushcert_renewal_blocked_timestamp_seconds"]
    assert {s.labels["acts"] for s in blocked} == {"vendor"}
    assert len(blocked) > 2


def test_who_was_never_checked_and_should_be_has_a_verdict_of_that_name() -> None:
    report = many(1)
    plain = replace(report.rows[0], verdict=None, status="ok", canary=False)
    rows = (
        replace(plain, slug="owed"),
        replace(plain, slug="canary", canary=True),
        replace(plain, slug="paused", status="paused"),
        replace(plain, slug="expired", status="expired"),
        replace(plain, slug="unsure", verdict="inconclusive"),
    )
    found = samples(replace(report, rows=rows))["pushcert_isolation_verdict"]
    assert {s.labels["customer"]: s.labels["verdict"] for s in found} == {
        "owed": "unchecked",
        "unsure": "inconclusive",
    }


def metric_names(text: str) -> set[str]:
    return set(re.findall(r"pushcert_\w+", text))


def test_rules_and_dashboard_use_metrics_that_there_are() -> None:
    report = many(500)
    revoked = replace(report.rows[0], status="revoked")
    out = replace(report.signers[0], unavailable_since=report.at, unavailable_why="It is gone.")
    there = set(samples(replace(report, rows=(*report.rows, revoked), signers=(out,))))
    rules = yaml.safe_load((DOCS / "prometheus-alerts.yml").read_text())
    expressions = [rule["expr"] for group in rules["groups"] for rule in group["rules"]]
    dashboard = json.loads((DOCS / "grafana-dashboard.json").read_text())
    queries = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    used = metric_names(" ".join([*expressions, *queries]))
    assert used <= there
    alerted = metric_names(" ".join(expressions))
    assert there - alerted <= {"pushcert_customers", "pushcert_renewal_opened_timestamp_seconds"}


def test_every_alert_says_how_bad_it_is_and_what_to_do() -> None:
    rules = yaml.safe_load((DOCS / "prometheus-alerts.yml").read_text())
    tested = (DOCS / "prometheus-alerts-test.yml").read_text()
    for rule in rules["groups"][0]["rules"]:
        assert rule["labels"]["severity"] in ("warning", "critical")
        assert rule["annotations"]["summary"]
        assert rule["annotations"]["description"]
        assert f"alertname: {rule['alert']}" in tested


@pytest.mark.parametrize("command", [("check", "rules"), ("test", "rules")])
def test_promtool_agrees(command: tuple[str, str]) -> None:
    if shutil.which("promtool") is None:
        pytest.skip("promtool is not installed")
    file = "prometheus-alerts.yml" if command[0] == "check" else "prometheus-alerts-test.yml"
    done = subprocess.run(
        ["promtool", *command, file], cwd=DOCS, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def promtool(*command: str, text: str | None = None) -> subprocess.CompletedProcess[str]:
    if shutil.which("promtool") is None:
        pytest.skip("promtool is not installed")
    return subprocess.run(
        ["promtool", *command], input=text, capture_output=True, text=True, check=False
    )


def test_promtool_finds_nothing_to_say_about_the_names_of_the_metrics() -> None:
    done = promtool("check", "metrics", text=as_metrics_text(many(300)))
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    bad = promtool("check", "metrics", text="# TYPE lasting_minutes gauge\nlasting_minutes 1\n")
    assert bad.returncode != 0, "it would say so"


def test_promtool_can_read_every_query_of_the_dashboard(tmp_path: Path) -> None:
    dashboard = json.loads((DOCS / "grafana-dashboard.json").read_text())
    queries = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    rules = [{"record": f"panel:{n}", "expr": query} for n, query in enumerate(queries)]
    file = tmp_path / "queries.yml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": rules}]}))
    done = promtool("check", "rules", str(file))
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{len(queries)} rules found" in done.stdout


def test_a_lost_apple_account_and_a_bouncing_contact_come_first() -> None:
    found = who(many(400).rows)
    assert found.accounts[0].apple_account is None
    assert len(found.accounts[0].customers) == 8
    assert [contact.bounced for contact in found.contacts[:3]] == [True, True, False]


def test_accounts_are_one_however_they_are_written_and_many_are_marked() -> None:
    rows = many(30).rows
    shared = [
        replace(row, apple_account="Push@Example.com" if n % 2 else "push@example.com")
        for n, row in enumerate(rows[:6])
    ]
    found = who([*shared, *rows[6:]])
    (account,) = [a for a in found.accounts if a.many]
    assert len(account.customers) == 6
    assert account.next_expiry == min(r.not_after for r in shared if r.not_after is not None)


def test_a_bounce_says_since_when_and_why() -> None:
    rows = [replace(row, bounced=()) for row in many(10).rows]
    address = rows[0].email
    bounced = replace(rows[0], bounced=(address,))
    found = who([bounced, *rows[1:]], [BouncedAddress(address, NOW - DAY, "550 no such user")])
    assert found.contacts[0].address == address
    assert (found.contacts[0].bounced_at, found.contacts[0].bounced_why) == (
        NOW - DAY,
        "550 no such user",
    )


def by_whom(report: Report, form: str, tmp_path: Path) -> str:
    print_who(report, form, tmp_path / "who")
    return (tmp_path / "who").read_text()


def test_the_table_by_whom_is_not_a_flood_and_json_and_csv_have_everybody(tmp_path: Path) -> None:
    report = many(3000)
    text = by_whom(report, "table", tmp_path)
    assert text.count("\n") < 60
    assert "unknown" in text
    assert "Apple Accounts own one certificate each." in text
    assert "contacts hear for one customer each." in text
    rows = json.loads(by_whom(report, "json", tmp_path))
    assert {slug for row in rows for slug in row["customers"]} == {r.slug for r in report.rows}
    assert {"bounced_at", "bounced_why"} <= set(rows[-1])
    ends = [row["next_expiry"] for row in rows if row.get("next_expiry")]
    assert all(end[10] == "T" for end in ends), "as everywhere: ISO 8601"
    assert by_whom(report, "csv", tmp_path).count("\n") == len(rows) + 1


def test_work_is_by_who_must_do_it_and_counts_nobody_who_is_paused() -> None:
    report = many(1000)
    work = work_of(report.rows)
    assert [w.acts for w in work] == sorted(
        (w.acts for w in work), key=["vendor", "customer"].index
    )
    assert (work[0].what, work[0].slugs) == (BREACH, ("customer-00008",))
    held = [w for w in work if w.blocked_by]
    assert [w.blocked_by for w in held] == ["signer_expired"]
    assert held[0].customers == sum(
        r.blocked_by is not None and r.status != "paused" for r in report.rows
    )
    assert held[0].since == NOW - 4 * DAY
    owed = sum(r.acts != "nobody" for r in report.rows)
    assert sum(w.customers for w in work if w.what != BREACH) == owed


def test_who_is_held_up_longest_is_named_first() -> None:
    rows = [r for r in many(1000).rows if r.blocked_by is not None and r.status != "paused"]
    longest = replace(rows[-1], blocked_since=NOW - 30 * DAY, blocked_message="x", next_step="Why.")
    (work,) = work_of([*rows[:-1], longest])
    assert work.slugs[0] == longest.slug
    assert (work.since, work.what) == (NOW - 30 * DAY, "Why.")


def test_nobody_has_to_act_for_nobody() -> None:
    assert work_of([]) == ()


def test_the_chart_counts_everybody_who_has_a_certificate_once() -> None:
    report = many(1000)
    chart = chart_of(report)
    counted = [r for r in report.rows if r.not_after is not None and r.status != "paused"]
    assert sum(bar.count for bar in chart.bars) == len(counted)
    assert chart.bars[0].count == report.counts["expired"]
    assert max(bar.height for bar in chart.bars) <= chart.base


def test_a_chart_of_nothing_has_no_bars_and_counts_nothing() -> None:
    chart = chart_of_counts({}, NOW)
    assert {bar.height for bar in chart.bars} == {0}
    assert chart.label == "0 have expired, 0 expire within five weeks, at most 0 in one week."


@pytest.mark.parametrize("days", range(0, 366, 7))
def test_no_month_is_written_where_the_words_at_the_ends_stand(days: int) -> None:
    first, *weeks, last = chart_of_counts({WEEKS: 1}, NOW + timedelta(days=days)).bars
    assert (first.tick, last.tick) == ("past", "later")
    written = [bar.middle for bar in weeks if bar.tick]
    assert min(written) - first.middle > 9, "a phone has 25 pixels there"
    assert len(written) >= 10


@pytest.mark.parametrize(
    ("order", "key"),
    [
        ("expiry", lambda row: (row.not_after is None, row.not_after or NOW)),
        ("customer", lambda row: row.name.casefold()),
        ("account", lambda row: (row.apple_account or "").casefold()),
        ("status", lambda row: row.status),
    ],
)
def test_a_report_can_be_sorted_otherwise(order: str, key: Any) -> None:
    rows = many(200).sorted_by(order).rows
    assert [key(row) for row in rows] == sorted(key(row) for row in rows)


def test_new_columns_are_in_csv_and_json() -> None:
    report = many(10)
    assert "region:emea" in as_csv(report)
    document = json.loads(as_json_text(report))
    assert document["undelivered"] == 2
    assert {"tags", "contacts", "bounced"} <= set(document["customers"][0])
