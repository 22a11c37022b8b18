"""``report`` by the command line: every form, filters, and what a missing library is answered."""

from __future__ import annotations

import csv
import io
import json
import re
import sqlite3
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import icalendar
import pytest
from cryptography.hazmat.primitives.serialization import Encoding
from prometheus_client.parser import text_string_to_metric_families
from typer.testing import CliRunner, Result

from bench.keys import keys
from cli.main import app
from lifecycle.lab.authority import Authority
from lifecycle.lab.clock import LabClock

FORMS = ("table", "json", "csv", "html", "ics", "prometheus")


class Vendor:
    """A deployment with three customers: 20 days left, 300 days left, and no certificate yet."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        assert CliRunner().invoke(app, ["init", str(directory)]).exit_code == 0

    def run(self, *arguments: str) -> Result:
        config = str(self.directory / "config.toml")
        return CliRunner().invoke(app, ["--config", config, *arguments])

    def done(self, *arguments: str) -> str:
        result = self.run(*arguments)
        assert result.exit_code == 0, result.output
        return result.stdout


@pytest.fixture(scope="module")
def vendor(tmp_path_factory: pytest.TempPathFactory) -> Vendor:
    folder = tmp_path_factory.mktemp("report")
    made = Vendor(folder / "deployment")
    rows = ["slug,name,email,apple_account,certificate,tags"]
    for number, (slug, days) in enumerate({"soon": 20, "later": 300}.items()):
        issued_at = datetime.now(UTC) - timedelta(days=365 - days)
        authority = Authority(LabClock(issued_at), number)
        key = list(keys(2))[number]
        topic = f"com.apple.mgmt.External.{number:032x}"
        pem = authority.issue_push_certificate(key.public_key(), topic).public_bytes(Encoding.PEM)
        (folder / f"{slug}.pem").write_bytes(pem)
        rows.append(f"{slug},{slug.title()},it@{slug}.example,push@{slug}.example,{slug}.pem,x")
    rows.append("new,New,it@new.example,,,")
    (folder / "customers.csv").write_text("\n".join(rows))
    made.done("customer", "import", str(folder / "customers.csv"))
    return made


def slugs(text: str) -> list[str]:
    return [row["slug"] for row in json.loads(text)["customers"]]


def unstamped(text: str) -> str:
    """A calendar says in each event when it was made, by the host's clock."""
    return re.sub(r"^DTSTAMP:.*$", "", text, flags=re.MULTILINE)


@pytest.mark.parametrize("form", FORMS)
def test_every_form_goes_to_the_terminal_and_to_a_file(
    vendor: Vendor, form: str, tmp_path: Path
) -> None:
    shown = vendor.done("report", "--format", form, "--at", "2027-01-01")
    out = tmp_path / "report"
    assert vendor.done("report", "--format", form, "--at", "2027-01-01", "--out", str(out)) == ""
    written = out.read_bytes().decode()
    if form != "table":  # a file has 100 columns, whatever the terminal
        assert unstamped(written.replace("\r\n", "\n")) == unstamped(shown)
    match form:
        case "json":
            assert slugs(written)
        case "csv":
            assert len(list(csv.DictReader(io.StringIO(written)))) == 3
        case "html":
            assert written.startswith("<!doctype html>")
        case "ics":
            assert len(list(icalendar.Calendar.from_ical(written).walk("VEVENT"))) == 2
        case "prometheus":
            assert list(text_string_to_metric_families(written))
        case _:
            assert "soon" in written


def test_filters_and_order_work_together(vendor: Vendor) -> None:
    assert slugs(vendor.done("report", "--json")) == ["soon", "new", "later"]
    assert slugs(vendor.done("report", "--json", "--sort", "customer")) == ["later", "new", "soon"]
    assert slugs(vendor.done("report", "--json", "--tag", "x", "--within", "60d")) == ["soon"]
    assert slugs(vendor.done("report", "--json", "--status", "no_certificate")) == ["new"]


def test_a_forecast_says_who_will_be_due(vendor: Vendor) -> None:
    later = (datetime.now(UTC) + timedelta(days=290)).date().isoformat()
    found = json.loads(vendor.done("report", "--json", "--at", later))
    assert {row["slug"]: row["status"] for row in found["customers"]} == {
        "soon": "expired",
        "later": "due",
        "new": "no_certificate",
    }
    failing = vendor.run("report", "--at", later, "--fail-on", "expired")
    assert failing.exit_code == 4
    assert "soon" in failing.output
    month = json.loads(vendor.done("report", "--json", "--at", later[:7]))
    begun, ended = later[:7], (datetime.fromisoformat(month["at"]) + timedelta(seconds=1))
    assert month["at"].startswith(begun)
    assert (ended.day, ended.hour) == (1, 0)
    december = json.loads(vendor.done("report", "--json", "--at", "2030-12"))
    assert december["at"] == "2030-12-31T23:59:59+00:00"


def test_a_time_can_be_given_in_hours_days_and_weeks(vendor: Vendor) -> None:
    for within, found in (("12h", []), ("20d", ["soon"]), ("20", ["soon"]), ("43w", None)):
        shown = slugs(vendor.done("report", "--json", "--within", within))
        assert shown == (["soon", "later"] if found is None else found), within


def test_a_signer_that_has_ended_fails_as_well(vendor: Vendor, tmp_path: Path) -> None:
    other = Vendor(tmp_path / "other")
    assert other.run("report", "--fail-on", "expired").exit_code == 0
    authority = Authority(LabClock(datetime.now(UTC) - timedelta(days=400)), 9)
    (key,) = keys(1)
    certificate = authority.issue_signing_certificate(key.public_key(), "Example MDM", days=380)
    with sqlite3.connect(other.directory / "vendor.sqlite") as connection:
        connection.execute(
            "INSERT INTO signer (id, fingerprint, common_name, not_before, not_after,"
            " expires_first, chain, imported_at)"
            " VALUES (1, 'f', 'MDM Vendor: Example MDM', ?, ?, 'x', ?, ?)",
            (
                "2025-01-01 00:00:00.000000",
                "2026-01-01 00:00:00.000000",
                certificate.public_bytes(Encoding.PEM).decode(),
                "2025-01-01 00:00:00.000000",
            ),
        )
    connection.close()
    failing = other.run("report", "--fail-on", "expired")
    assert failing.exit_code == 4
    assert "MDM signing: MDM Vendor: Example MDM (expired)" in failing.output


def test_who_groups_by_account_and_contact(vendor: Vendor, tmp_path: Path) -> None:
    rows = json.loads(vendor.done("report", "--who", "--json"))
    assert (rows[0]["kind"], rows[0]["who"], rows[0]["customers"]) == ("account", None, ["new"])
    assert {row["who"] for row in rows if row["kind"] == "contact"} == {
        "it@soon.example",
        "it@later.example",
        "it@new.example",
    }
    assert "unknown" in vendor.done("report", "--who")
    parsed = list(csv.DictReader(io.StringIO(vendor.done("report", "--who", "--format", "csv"))))
    assert parsed[0]["customers"] == "new"
    out = tmp_path / "who.txt"
    vendor.done("report", "--who", "--out", str(out))
    assert "push@soon.example" in out.read_text()
    assert vendor.run("report", "--who", "--format", "ics").exit_code == 2


@pytest.mark.parametrize(
    "options",
    [
        ("--format", "pdf"),
        ("--sort", "mood"),
        ("--status", "fine"),
        ("--at", "soon"),
        ("--at", "2027-13"),
        ("--within", "soon"),
        ("--within", "9999999d"),
    ],
)
def test_a_wrong_option_is_a_usage_error(vendor: Vendor, options: tuple[str, str]) -> None:
    assert vendor.run("report", *options).exit_code == 2


@pytest.mark.parametrize(
    ("form", "module", "extra"),
    [("ics", "icalendar", "calendar"), ("prometheus", "prometheus_client", "metrics")],
)
def test_a_missing_library_is_named_with_the_way_to_get_it(
    vendor: Vendor, form: str, module: str, extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    refused = vendor.run("report", "--format", form)
    assert refused.exit_code == 3
    assert f"pip install 'pushcert[{extra}]'" in refused.output


def test_the_forecast_of_a_calendar_is_stamped_with_today(vendor: Vendor) -> None:
    """Stamped with a day to come, it would win against every import until then."""
    text = vendor.done("report", "--format", "ics", "--at", "2040-01-01")
    event: Any
    for event in icalendar.Calendar.from_ical(text).walk("VEVENT"):
        assert abs(event["dtstamp"].dt - datetime.now(UTC)) < timedelta(minutes=5)


def test_the_table_loads_nothing_of_the_other_forms(vendor: Vendor) -> None:
    heavy = ("jinja2", "icalendar", "prometheus_client", "lifecycle.vendor.outbox", "smtplib")
    code = (
        "import sys; from typer.testing import CliRunner; from cli.main import app;"
        "r = CliRunner().invoke(app, sys.argv[1:]); assert r.exit_code == 0, r.output;"
        f"print([name for name in {heavy!r} if name in sys.modules])"
    )
    config = str(vendor.directory / "config.toml")
    done = subprocess.run(
        [sys.executable, "-c", code, "--config", config, "report"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "[]"
