"""A request is given out byte for byte as it was signed, whatever has become of the signer."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from sqlmodel import Session

from bench.keys import keys
from lifecycle.lab.authority import Authority
from lifecycle.lab.clock import LabClock
from lifecycle.pki.csr import build_csr
from lifecycle.vendor.database import Database
from lifecycle.vendor.models import Renewal
from lifecycle.vendor.signed_requests import identity_of, is_signed, request_of
from lifecycle.vendor.signer import SignedCsr, SignerDirectory
from lifecycle.vendor.signer_in_force import put_in_force

NOW = datetime(2027, 3, 1, 9, tzinfo=UTC)
OWN, KEY, OTHER = keys(3)
CSR = build_csr(OWN, email="it@acme.example", common_name="Acme").der


@pytest.fixture
def session(database_url: str) -> Iterator[Session]:
    database = Database(database_url)
    with database.trial() as opened:
        yield opened
    database.close()


class Vendor:
    """Has one MDM signing certificate after the other."""

    def __init__(self, directory: Path, session: Session) -> None:
        self.authority = Authority(LabClock(NOW))
        self.directory = SignerDirectory(directory)
        self.session = session

    def sign(self, key: RSAPrivateKey, at: datetime = NOW) -> SignedCsr:
        """With a new certificate for the key, which is in force from now on."""
        certificate = self.authority.issue_signing_certificate(key.public_key(), "Example MDM")
        self.directory.install(certificate, key, (), self.authority.trust, at=at)
        record = self.directory.current()
        assert record is not None
        put_in_force(self.session, record, at)
        return self.directory.sign(CSR)


@pytest.fixture
def vendor(tmp_path: Path, session: Session) -> Vendor:
    return Vendor(tmp_path / "signer", session)


def kept(made: SignedCsr) -> Renewal:
    return Renewal(
        customer_id=1,
        state="signed",
        reason="expiry",
        opened_at=NOW,
        csr=made.csr,
        signature=made.signature,
        signer_fingerprint=made.signer_fingerprint,
    )


def test_it_is_what_was_signed_when_another_signer_is_in_force(
    session: Session, vendor: Vendor
) -> None:
    first = vendor.sign(KEY)
    second = vendor.sign(OTHER, NOW + timedelta(days=1))
    assert request_of(session, kept(first)) == first.request
    assert request_of(session, kept(second)) == second.request
    assert first.request != second.request


def test_a_new_certificate_for_the_same_key_makes_another_request(vendor: Vendor) -> None:
    first, second = vendor.sign(KEY), vendor.sign(KEY, NOW + timedelta(days=1))
    assert first.signature == second.signature
    assert first.request != second.request
    assert identity_of(kept(first)) != identity_of(kept(second))


def test_one_that_an_earlier_version_kept_whole_is_given_as_it_is(session: Session) -> None:
    old = Renewal(
        customer_id=1, state="delivered", reason="expiry", opened_at=NOW, csr=CSR, request="UmVx"
    )
    assert is_signed(old)
    assert request_of(session, old) == "UmVx"
    # As that version named it in the outbox: what it has delivered is not delivered again.
    assert identity_of(old) == "d4af5628c47f7316"


def test_before_it_is_signed_there_is_none(session: Session) -> None:
    waiting = Renewal(customer_id=1, state="csr_received", reason="expiry", opened_at=NOW, csr=CSR)
    assert not is_signed(waiting)
    assert request_of(session, waiting) is None
    assert identity_of(waiting) is None
