"""The lab as fixtures, for the tests of any MDM software: installed, pytest has them.

    def test_a_push(apns_gateway, apns_ca_file, push_certificate):
        issued = push_certificate()
        token = apns_gateway.register_device(issued.topic)
        ...                                   # your client, with issued.write(path)
        assert apns_gateway.counts[issued.topic, 200] == 1

Nothing is imported before a fixture is used, so that tests without them pay nothing, also where
``pushcert[lab]`` is not installed. To change what a fixture gives, define one of the same name.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from lifecycle.lab import (
        ApnsGateway,
        Authority,
        Issued,
        IssuePushCertificate,
        LabCa,
        LabClock,
        Portal,
    )


@pytest.fixture
def lab_clock() -> LabClock:
    """The lab's clock; stands at the host's now until it is moved (``advance``, ``set``)."""
    from datetime import UTC, datetime

    _require_extra()
    from lifecycle.lab import LabClock

    return LabClock(datetime.now(UTC).replace(microsecond=0))


@pytest.fixture(scope="session")
def lab_cas() -> tuple[LabCa, LabCa, LabCa]:
    """The lab's root, WWDR and Application Integration CAs; their keys are made once."""
    from datetime import UTC, datetime

    _require_extra()
    from lifecycle.lab import Authority, LabClock

    authority = Authority(LabClock(datetime.now(UTC)))
    return authority.root, authority.wwdr, authority.aai


@pytest.fixture
def lab_authority(lab_clock: LabClock, lab_cas: tuple[LabCa, LabCa, LabCa]) -> Authority:
    """The lab's Apple: issues certificates, dated by ``lab_clock``."""
    from lifecycle.lab import Authority

    return Authority(lab_clock, cas=lab_cas)


@pytest.fixture
def apns_gateway(lab_authority: Authority, lab_clock: LabClock) -> Iterator[ApnsGateway]:
    """APNs on loopback (``host``, ``port``), with ``register_device``, ``faults``, ``counts``."""
    from lifecycle.lab import ApnsGateway

    gateway = ApnsGateway(lab_authority, lab_clock)
    gateway.start()
    yield gateway
    gateway.stop()


@pytest.fixture
def apns_ca_file(apns_gateway: ApnsGateway, tmp_path: Path) -> Path:
    """The root (PEM) that clients of ``apns_gateway`` must trust."""
    path = tmp_path / "apns-ca.pem"
    apns_gateway.write_ca(path)
    return path


@pytest.fixture
def push_portal(lab_authority: Authority, lab_clock: LabClock) -> Portal:
    """The Push Certificates Portal: ``create``, ``renew``, ``revoke``, ``certificates``."""
    import random

    from lifecycle.lab import Portal

    return Portal(lab_authority, lab_clock, random.Random(0))  # noqa: S311  (a lab's topics)


@pytest.fixture
def push_portal_url(
    push_portal: Portal, apns_gateway: ApnsGateway, lab_clock: LabClock
) -> Iterator[str]:
    """The same portal over HTTP, with devices, faults, clock and OCSP (docs/lab.md)."""
    from lifecycle.lab import PortalServer

    server = PortalServer(push_portal, apns_gateway, lab_clock)
    server.start()
    push_portal.authority.ocsp_url = server.ocsp_url
    yield server.url
    server.stop()


@pytest.fixture
def mdm_signing_certificate(lab_authority: Authority) -> Issued:
    """A vendor's MDM signing certificate and key: the portal takes requests they signed."""
    from lifecycle.lab import issue_signing_certificate

    return issue_signing_certificate(lab_authority)


@pytest.fixture
def push_certificate(lab_authority: Authority) -> IssuePushCertificate:
    """Makes push certificates with their keys: ``push_certificate(topic=None, days=365)``."""
    from lifecycle.lab import issue_push_certificate

    def make(topic: str | None = None, *, days: int = 365) -> Issued:
        return issue_push_certificate(lab_authority, topic, days=days)

    return make


def _require_extra() -> None:
    try:
        from lifecycle.lab import ApnsGateway, Mailbox
    except ModuleNotFoundError as missing:
        pytest.fail(str(missing), pytrace=False)
    del ApnsGateway, Mailbox
