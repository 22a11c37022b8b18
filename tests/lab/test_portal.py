"""What the lab's portal issues and what, like Apple's, it refuses."""

from __future__ import annotations

import plistlib
import random
from base64 import b64decode, b64encode
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from lifecycle.errors import Refused
from lifecycle.lab.authority import Authority, LabCa
from lifecycle.lab.portal import Portal
from lifecycle.pki.fingerprints import serial_hex

START = datetime(2041, 3, 1, 9, 0, tzinfo=UTC)
ACME = "it@acme.example"

Requests = Callable[..., bytes]


def load(pem: bytes) -> x509.Certificate:
    return x509.load_pem_x509_certificate(pem)


def topic_of(certificate: x509.Certificate) -> str:
    return str(certificate.subject.get_attributes_for_oid(NameOID.USER_ID)[0].value)


def altered(request: bytes, **fields: str) -> bytes:
    plist = plistlib.loads(b64decode(request))
    return b64encode(plistlib.dumps({**plist, **fields}))


def test_create_issues_a_certificate_in_apples_form_for_the_csrs_key(
    world: Any, request_for: Requests, key: RSAPrivateKey
) -> None:
    certificate = load(world.portal.create(ACME, request_for()))
    topic = topic_of(certificate)
    assert topic.startswith("com.apple.mgmt.External.")
    name = topic.removeprefix("com.apple.mgmt.External.")
    assert certificate.subject.rfc4514_string() == f"C=US,CN=APSP:{name},UID={topic}"
    assert certificate.public_key() == key.public_key()
    assert certificate.not_valid_before_utc == START
    assert certificate.not_valid_after_utc == START + timedelta(days=365)
    usage = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(usage) == [ExtendedKeyUsageOID.CLIENT_AUTH]
    assert certificate.extensions.get_extension_for_class(x509.KeyUsage).value.digital_signature
    certificate.verify_directly_issued_by(world.authority.aai.certificate)


def test_renew_keeps_the_topic_and_create_makes_another(world: Any, request_for: Requests) -> None:
    first = load(world.portal.create(ACME, request_for()))
    world.clock.advance(timedelta(days=300))
    renewed = load(world.portal.renew(ACME, request_for(), serial_hex(first.serial_number)))
    other = load(world.portal.create(ACME, request_for()))
    assert topic_of(renewed) == topic_of(first) != topic_of(other)
    assert renewed.serial_number != first.serial_number
    assert renewed.not_valid_after_utc == START + timedelta(days=665)
    rows = world.portal.certificates(ACME)
    assert [row.serial for row in rows] == [
        serial_hex(c.serial_number) for c in (first, renewed, other)
    ]
    assert {row.vendor for row in rows} == {"Example MDM"}


def test_another_apple_account_sees_no_row_to_renew(world: Any, request_for: Requests) -> None:
    first = load(world.portal.create(ACME, request_for()))
    assert world.portal.certificates("other@acme.example") == ()
    with pytest.raises(Refused) as refused:
        world.portal.renew("other@acme.example", request_for(), serial_hex(first.serial_number))
    assert refused.value.codes == ("portal_row_missing",)


def test_a_revoked_row_is_not_renewed(world: Any, request_for: Requests) -> None:
    first = load(world.portal.create(ACME, request_for()))
    serial = serial_hex(first.serial_number)
    world.portal.revoke(ACME, serial)
    assert [row.revoked for row in world.portal.certificates(ACME)] == [True]
    with pytest.raises(Refused) as refused:
        world.portal.renew(ACME, request_for(), serial)
    assert refused.value.codes == ("portal_row_revoked",)
    with pytest.raises(Refused, match="no certificate with the serial"):
        world.portal.revoke("other@acme.example", serial)


def test_a_request_signed_by_a_lapsed_signing_certificate_is_refused_by_the_labs_clock(
    world: Any, request_for: Requests
) -> None:
    request = request_for()
    world.clock.advance(timedelta(days=365, seconds=1))
    with pytest.raises(Refused) as refused:
        world.portal.create(ACME, request)
    assert refused.value.codes == ("chain_certificate_expired",)
    assert world.portal.rows() == ()


def test_a_request_whose_signature_is_over_another_csr_is_refused(
    world: Any, request_for: Requests
) -> None:
    signature = plistlib.loads(b64decode(request_for("other@acme.example")))["PushCertSignature"]
    with pytest.raises(Refused) as refused:
        world.portal.create(ACME, altered(request_for(), PushCertSignature=signature))
    assert refused.value.codes == ("request_signature_invalid",)


def test_a_request_without_its_intermediate_or_with_long_lines_is_refused(
    world: Any, request_for: Requests
) -> None:
    chain = plistlib.loads(b64decode(request_for()))["PushCertCertificateChain"]
    leaf, _, root = chain.split("-----END CERTIFICATE-----\n")[:3]
    end = "-----END CERTIFICATE-----\n"
    with pytest.raises(Refused) as refused:
        world.portal.create(
            ACME, altered(request_for(), PushCertCertificateChain=leaf + end + root + end)
        )
    assert "request_chain_incomplete" in refused.value.codes
    # Two lines made one.
    head, body = chain.split("\n", 1)
    with pytest.raises(Refused) as refused:
        world.portal.create(
            ACME,
            altered(
                request_for(),
                PushCertCertificateChain=f"{head}\n{body.replace(chr(10), '', 1)}",
            ),
        )
    assert "request_pem_line_rule" in refused.value.codes


def test_a_signer_under_foreign_cas_with_the_same_names_is_refused(
    world: Any, request_for: Requests, foreign_cas: tuple[LabCa, LabCa, LabCa]
) -> None:
    stranger = Authority(world.clock, 7, cas=foreign_cas)
    portal = Portal(stranger, world.clock, random.Random(7))  # noqa: S311
    with pytest.raises(Refused):
        portal.create(ACME, request_for())


@pytest.mark.parametrize("upload", [b"", b"<html></html>", b"AAAA", b"\xff" * 100])
def test_what_is_no_request_is_refused(world: Any, upload: bytes) -> None:
    with pytest.raises(Refused):
        world.portal.create(ACME, upload)


def test_the_same_seed_gives_the_same_topics_and_serials(
    world: Any, request_for: Requests, cas: tuple[LabCa, LabCa, LabCa]
) -> None:
    request = request_for()

    def issued() -> list[tuple[str, str]]:
        portal = Portal(Authority(world.clock, 3, cas=cas), world.clock, random.Random(3))  # noqa: S311
        portal.create(ACME, request)
        portal.create(ACME, request)
        return [(row.topic, row.serial) for row in portal.certificates(ACME)]

    assert issued() == issued()
    assert len(set(issued())) == 2
