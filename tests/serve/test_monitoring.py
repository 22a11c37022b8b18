"""Metrics and the calendar feed: for whom they are, and that they say what the report says."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import icalendar
import pytest
from prometheus_client.parser import text_string_to_metric_families

from lifecycle.errors import Refused
from lifecycle.vendor import feed_tokens

if TYPE_CHECKING:
    from tests.serve.conftest import BuildVendor, Vendor

TOKEN = "metrics-token-of-the-test"


def opened(vendor: Vendor) -> httpx.Client:
    trusted = ssl.create_default_context(cafile=str(vendor.tls.ca))
    return httpx.Client(base_url=vendor.url, verify=trusted)


@pytest.fixture
def client(vendor: Vendor) -> Iterator[httpx.Client]:
    with opened(vendor) as client:
        yield client


class TestMetrics:
    def test_say_what_the_report_says(self, vendor: Vendor, client: httpx.Client) -> None:
        vendor.add("acme")
        vendor.clock.advance(timedelta(minutes=10))
        text = client.get("/metrics").text
        found = {family.name: family for family in text_string_to_metric_families(text)}
        assert found["pushcert_queue_overdue_seconds"].samples[0].value == 600
        by_status = {s.labels["status"]: s.value for s in found["pushcert_customers"].samples}
        assert by_status["no_certificate"] == 1

    @pytest.mark.parametrize("header", ["X-Forwarded-For", "Forwarded", "X-Real-IP"])
    def test_are_not_shown_through_a_proxy_on_this_machine(
        self, client: httpx.Client, header: str
    ) -> None:
        assert client.get("/metrics", headers={header: "127.0.0.1"}).status_code == 401

    def test_are_shown_to_whoever_has_the_token(
        self, build_vendor: BuildVendor, tmp_path: Path
    ) -> None:
        (tmp_path / "token").write_text(TOKEN)
        (tmp_path / "token").chmod(0o600)
        vendor = build_vendor(f'[serve]\nmetrics_token = "file:{tmp_path / "token"}"\n')
        with opened(vendor) as client:
            for header in (None, "Bearer wrong", f"Basic {TOKEN}", "Bearer", "Bearer ü"):
                given = [] if header is None else [(b"Authorization", header.encode())]
                said = client.get("/metrics", headers=given)
                assert said.status_code == 401
                assert said.json()["code"] == "metrics_token_wrong"
            good = {"Authorization": f"Bearer {TOKEN}", "X-Forwarded-For": "203.0.113.9"}
            assert client.get("/metrics", headers=good).status_code == 200


class TestTheFeed:
    def add(self, vendor: Vendor, label: str = "Ops calendar") -> str:
        with vendor.served.database.transaction() as session:
            return feed_tokens.add(session, label, at=vendor.clock.now(), actor="operator:test")

    def test_is_a_calendar_for_whoever_has_the_address(
        self, vendor: Vendor, client: httpx.Client
    ) -> None:
        said = client.get(f"/calendar/{self.add(vendor)}/expiries.ics")
        assert said.status_code == 200
        assert said.headers["content-type"] == "text/calendar; charset=utf-8"
        assert icalendar.Calendar.from_ical(said.content)["x-wr-calname"]

    def test_is_revoked_alone(self, vendor: Vendor, client: httpx.Client) -> None:
        first, second = self.add(vendor), self.add(vendor, "Another")
        with vendor.served.database.transaction() as session:
            assert feed_tokens.revoke(session, 1, at=vendor.clock.now(), actor="operator:test")
            assert not feed_tokens.revoke(session, 1, at=vendor.clock.now(), actor="operator:test")
        assert client.get(f"/calendar/{first}/expiries.ics").status_code == 404
        assert client.get(f"/calendar/{second}/expiries.ics").status_code == 200

    def test_notes_its_use_now_and_then(self, vendor: Vendor, client: httpx.Client) -> None:
        token = self.add(vendor)
        seen = []
        for _ in range(3):
            client.get(f"/calendar/{token}/expiries.ics")
            with vendor.served.database.reading() as session:
                seen.append(feed_tokens.all_feeds(session)[0].used_at)
            vendor.clock.advance(timedelta(minutes=40))
        assert seen[0] == seen[1]
        assert seen[2] != seen[1]

    def test_keeps_no_token_in_the_registry_or_the_log(
        self, vendor: Vendor, client: httpx.Client, capsys: pytest.CaptureFixture[str]
    ) -> None:
        token = self.add(vendor)
        client.get(f"/calendar/{token}/expiries.ics")
        client.get(f"/calendar/{token}x/expiries.ics")
        for path in (vendor.directory / "vendor").rglob("*"):
            if path.is_file():
                assert token.encode() not in path.read_bytes()
        out, err = capsys.readouterr()
        assert token not in out + err
        assert "/calendar/{token}/expiries.ics" in out + err

    def test_of_nobody_and_of_no_number_is_refused(self, vendor: Vendor) -> None:
        with vendor.served.database.transaction() as session:
            for call in (
                lambda: feed_tokens.add(session, " ", at=vendor.clock.now(), actor="a"),
                lambda: feed_tokens.revoke(session, 9, at=vendor.clock.now(), actor="a"),
            ):
                with pytest.raises(Refused):
                    call()
