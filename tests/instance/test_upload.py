"""Uploads that are refused: every finding is named and no byte of the vault changes."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, pkcs7

from lifecycle.errors import Refused, refuse
from lifecycle.pki.csr import build_csr
from lifecycle.pki.keys import generate_key, key_to_pem
from lifecycle.pki.topic import Topic

if TYPE_CHECKING:
    from tests.instance.conftest import World

NEW_TOPIC = Topic("com.apple.mgmt.External.99999999-3333-4c22-9a33-5d6e7f809103")
NEW_KEY = generate_key()


@pytest.fixture
def world(linked_world: World) -> World:
    """Every test here runs over both kinds of link."""
    return linked_world


@pytest.fixture
def acme(world: World) -> World:
    """A customer with an active certificate and a device, one month before expiry, whose
    request is at the portal."""
    world.renew()
    world.import_device("D1")
    world.clock.advance(timedelta(days=335))
    world.renew_until_upload()
    return world


def der_of(pem: bytes) -> bytes:
    return x509.load_pem_x509_certificate(pem).public_bytes(Encoding.DER)


def last_years_file(world: World) -> bytes:
    old = world.vault.certificates.history()[0]
    world.agent.upload(world.issue())
    world.vendor.open_renewal()
    world.agent.step()
    return old.certificate.pem.encode()


def from_last_years_request(world: World) -> bytes:
    key = world.vault.require_active().certificate.certificate.public_key()
    assert isinstance(key, rsa.RSAPublicKey)
    return world.authority.issue(key, start=world.clock.now())


BAD: dict[str, tuple[Callable[[World], bytes], str]] = {
    "empty": (lambda _: b"", "file_empty"),
    "blank": (lambda _: b" \r\n\t", "file_empty"),
    "web page": (lambda _: b"<!DOCTYPE html><html><body>Sign in</body></html>", "file_is_web_page"),
    "nul bytes": (lambda _: b"\0" * 4096, "file_unknown"),
    "random": (lambda _: bytes(range(256)) * 4, "file_unknown"),
    "50 MB": (lambda _: b"A" * 50_000_000, "file_too_large"),
    "truncated pem": (lambda w: w.issue()[:700], "pem_truncated"),
    "truncated der": (lambda w: der_of(w.issue())[:500], "certificate_damaged"),
    "private key": (lambda _: key_to_pem(NEW_KEY, None), "file_is_private_key"),
    "csr": (
        lambda _: build_csr(NEW_KEY, email="a@b.example", common_name="A").pem.encode(),
        "file_is_csr",
    ),
    "two leaves": (lambda w: w.issue() + w.issue(), "several_certificates"),
    "ca only": (
        lambda w: w.authority.issuer.public_bytes(Encoding.PEM),
        "ca_certificate",
    ),
    "same file again": (
        lambda w: w.vault.require_active().certificate.pem.encode(),
        "already_active",
    ),
    "last year's file": (last_years_file, "older_than_active"),
    "last year's request": (from_last_years_request, "key_mismatch"),
    "wrong key": (
        lambda w: w.authority.issue(NEW_KEY.public_key(), start=w.clock.now()),
        "key_mismatch",
    ),
    "created instead of renewed": (lambda w: w.issue(NEW_TOPIC), "topic_changed"),
    "expired": (
        lambda w: _moved(w, w.issue(life=timedelta(days=10)), timedelta(days=11)),
        "certificate_expired",
    ),
    "not yet valid": (
        lambda w: _moved(w, w.issue(), timedelta(hours=-3)),
        "certificate_not_yet_valid",
    ),
}


def _moved(world: World, data: bytes, by: timedelta) -> bytes:
    world.clock.advance(by)
    return data


@pytest.mark.parametrize("case", BAD)
def test_a_bad_upload_is_refused_and_leaves_the_vault_byte_identical(
    acme: World, case: str
) -> None:
    make, code = BAD[case]
    data = make(acme)
    acme.vault.close()
    files, pushed = acme.files(), len(acme.apns.pushed)
    received, activations = acme.vendor.received, len(acme.vendor.activations)
    acme.reopen()
    with pytest.raises(Refused) as refused:
        acme.agent.upload(data)
    acme.vault.close()
    assert code in refused.value.codes
    assert all(f.remedy for f in refused.value.findings if f.refuses)
    assert acme.files() == files
    assert len(acme.apns.pushed) == pushed
    assert (acme.vendor.received, len(acme.vendor.activations)) == (received, activations)


def test_every_finding_is_named_not_only_the_first(acme: World) -> None:
    data = acme.authority.issue(
        NEW_KEY.public_key(), NEW_TOPIC, start=acme.clock.now(), life=timedelta(days=5)
    )
    acme.clock.advance(timedelta(days=6))
    with pytest.raises(Refused) as refused:
        acme.agent.upload(data)
    assert set(refused.value.codes) == {
        "certificate_expired",
        "older_than_active",
        "key_mismatch",
        "topic_changed",
    }


def test_the_refusal_of_a_new_topic_names_the_serial_to_renew(acme: World) -> None:
    with pytest.raises(Refused) as refused:
        acme.agent.upload(acme.issue(NEW_TOPIC))
    active = acme.vault.require_active().certificate
    assert active.serial in str(refused.value)
    assert active.common_name in str(refused.value)


def test_another_new_topic_than_the_accepted_one_is_refused(acme: World) -> None:
    with pytest.raises(Refused) as refused:
        acme.agent.upload(acme.issue(NEW_TOPIC), accept_new_topic=str(NEW_TOPIC)[:-1] + "9")
    assert refused.value.codes == ("topic_changed",)


def test_without_a_csr_a_certificate_is_refused_even_if_all_else_is_right(world: World) -> None:
    files = world.files()
    with pytest.raises(Refused) as refused:
        world.agent.upload(world.authority.issue(NEW_KEY.public_key()))
    assert refused.value.codes == ("no_csr_outstanding",)
    assert world.files() == files


def test_what_the_vendor_refuses_is_not_kept_either(acme: World) -> None:
    acme.vendor.refuses_certificate = refuse("topic_taken", "Beta Ltd has it.", "Renew yours.")
    files = acme.files()
    with pytest.raises(Refused) as refused:
        acme.agent.upload(acme.issue())
    assert refused.value.codes == ("topic_taken",)
    assert acme.files() == files


@pytest.mark.parametrize(
    "form",
    [
        lambda pem: pem.replace(b"\n", b"\r\n"),
        lambda pem: b"\xef\xbb\xbf" + pem,
        lambda pem: b"Your certificate:\n" + pem,
        lambda pem: pem.decode().encode("utf-16"),
        der_of,
        lambda pem: pkcs7.serialize_certificates(
            [x509.load_pem_x509_certificate(pem)], Encoding.DER
        ),
    ],
    ids=["crlf", "bom", "text before", "utf-16", "der", "pkcs7"],
)
def test_a_good_certificate_is_taken_in_any_form(
    acme: World, form: Callable[[bytes], bytes]
) -> None:
    pem = acme.issue()
    outcome = acme.agent.upload(form(pem))
    assert outcome.activated
    assert outcome.certificate.pem.encode() == pem


def test_a_pasted_key_is_ignored_noted_and_stays_here(acme: World) -> None:
    pasted = key_to_pem(NEW_KEY, None)
    outcome = acme.agent.upload(acme.issue() + pasted)
    assert [note.code for note in outcome.notes] == ["key_pasted"]
    assert outcome.activated
    crossed = b"".join(acme.crossed).replace(b"\\n", b"\n")
    assert b"PRIVATE KEY" not in crossed
    assert pasted.splitlines()[1] not in crossed
    assert len(acme.vault.keys.fingerprints()) == 2


def test_uploading_again_after_a_setback_does_no_harm(acme: World) -> None:
    acme.apns.answers["D1"] = (None, "apns_unreachable")
    data = acme.issue()
    assert not acme.agent.upload(data).activated
    acme.apns.answers.clear()
    assert acme.agent.upload(data).activated
    assert len(acme.vault.certificates.history()) == 2
