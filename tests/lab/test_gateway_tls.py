"""Who is let in by the gateway, and with which alert the others are sent away."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from lifecycle.lab.authority import Authority, LabCa
from lifecycle.lab.clock import LabClock

SClient = Callable[..., str]
Identity = Callable[..., Path]


def serial_in(path: Path) -> int:
    return int(path.stem)


@pytest.mark.parametrize("version", ["-tls1_2", "-tls1_3"])
def test_a_push_certificate_of_the_lab_is_let_in_with_h2(
    s_client: SClient, identity: Identity, version: str
) -> None:
    said = s_client(identity(), version)
    assert "ALPN protocol: h2" in said
    assert "Verify return code: 0 (ok)" in said
    assert "alert" not in said


@pytest.mark.parametrize("version", ["-tls1_2", "-tls1_3"])
def test_one_that_expired_by_the_labs_clock_is_refused_though_the_host_would_take_it(
    world: Any, s_client: SClient, identity: Identity, version: str
) -> None:
    # Issued in the host's past, so valid on the host for the next decades; not in the lab.
    world.clock.set(datetime(2001, 1, 1, tzinfo=UTC))
    certificate = identity(days=365 * 80)
    world.clock.set(datetime(2098, 1, 1, tzinfo=UTC))
    assert "alert certificate expired" in s_client(certificate, version)


def test_one_the_host_thinks_not_valid_yet_is_taken_until_its_day_in_the_lab(
    world: Any, s_client: SClient, identity: Identity
) -> None:
    certificate = identity(days=365)
    world.clock.advance(timedelta(days=365) - timedelta(seconds=1))
    assert "alert" not in s_client(certificate)
    world.clock.advance(timedelta(seconds=2))
    assert "alert certificate expired" in s_client(certificate)


@pytest.mark.parametrize("version", ["-tls1_2", "-tls1_3"])
def test_a_revoked_one_is_refused_as_revoked_and_others_go_on(
    world: Any, s_client: SClient, identity: Identity, version: str
) -> None:
    revoked, kept = identity(), identity()
    assert "alert" not in s_client(revoked, version)
    world.authority.revoke(serial_in(revoked))
    assert "alert certificate revoked" in s_client(revoked, version)
    assert "alert" not in s_client(kept, version)


@pytest.mark.parametrize("version", ["-tls1_2", "-tls1_3"])
def test_one_of_a_foreign_issuer_is_refused_as_unknown_ca(
    world: Any,
    s_client: SClient,
    identity: Identity,
    foreign_cas: tuple[LabCa, LabCa, LabCa],
    version: str,
) -> None:
    stranger = Authority(LabClock(world.clock.now()), 7, cas=foreign_cas)
    assert "alert unknown ca" in s_client(identity(authority=stranger), version)


def test_none_at_all_is_refused(s_client: SClient) -> None:
    assert "alert certificate required" in s_client(None, "-tls1_3")
    assert "alert handshake failure" in s_client(None, "-tls1_2")


def test_older_tls_is_refused(s_client: SClient, identity: Identity) -> None:
    said = s_client(identity(), "-tls1_1", "-cipher", "ALL:@SECLEVEL=0")
    assert "alert protocol version" in said


def test_who_does_not_offer_h2_gets_no_connection(s_client: SClient, identity: Identity) -> None:
    said = s_client(identity(), alpn="http/1.1")
    assert "No ALPN negotiated" in said
    assert "unexpected eof" in said


def test_in_an_outage_nobody_gets_as_far_as_a_handshake(
    world: Any, s_client: SClient, identity: Identity
) -> None:
    certificate = identity()
    world.gateway.faults.outage = True
    assert "ALPN protocol" not in s_client(certificate)
    world.gateway.faults.clear()
    assert "ALPN protocol: h2" in s_client(certificate)
