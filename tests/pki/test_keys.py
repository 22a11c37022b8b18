"""Keys: what is loaded, what is refused, and that nothing secret is in an error."""

from __future__ import annotations

import base64
import traceback
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
    pkcs12,
)

from lifecycle.errors import Refused
from lifecycle.pki.chain import parse_certificates
from lifecycle.pki.keys import generate_key, key_to_pem, load_pkcs12, load_private_key

OpenSsl = Callable[..., bytes]

PASSPHRASE = b"correct horse"


def numbers(key: rsa.RSAPrivateKey) -> rsa.RSAPrivateNumbers:
    return key.private_numbers()


def test_a_fresh_key_is_rsa_2048_with_exponent_65537() -> None:
    key = generate_key()
    assert key.key_size == 2048
    assert key.public_key().public_numbers().e == 65537


@pytest.mark.parametrize("encoding", [Encoding.PEM, Encoding.DER])
@pytest.mark.parametrize("form", [PrivateFormat.PKCS8, PrivateFormat.TraditionalOpenSSL])
def test_plain_keys_load_in_every_form(
    customer_key: rsa.RSAPrivateKey, encoding: Encoding, form: PrivateFormat
) -> None:
    data = customer_key.private_bytes(encoding, form, NoEncryption())
    assert numbers(load_private_key(data, None)) == numbers(customer_key)
    assert numbers(load_private_key(data, b"not needed")) == numbers(customer_key)
    assert numbers(load_private_key(data, None, trusted=True)) == numbers(customer_key)


@pytest.mark.parametrize("encoding", [Encoding.PEM, Encoding.DER])
def test_encrypted_keys_need_their_passphrase(
    customer_key: rsa.RSAPrivateKey, encoding: Encoding
) -> None:
    data = customer_key.private_bytes(
        encoding, PrivateFormat.PKCS8, BestAvailableEncryption(PASSPHRASE)
    )
    assert numbers(load_private_key(data, PASSPHRASE)) == numbers(customer_key)
    assert _codes(data, None) == ("private_key_encrypted",)
    assert _codes(data, b"") == ("private_key_encrypted",)
    assert _codes(data, b"wrong") == ("passphrase_wrong",)


def test_an_old_style_encrypted_key_of_openssl_loads(
    customer_key: rsa.RSAPrivateKey, vectors: Path, openssl: OpenSsl
) -> None:
    written = openssl(
        "rsa",
        "-in",
        vectors / "customer.key",
        "-traditional",
        "-aes128",
        "-passout",
        f"pass:{PASSPHRASE.decode()}",
    )
    assert b"Proc-Type" in written
    assert numbers(load_private_key(written, PASSPHRASE)) == numbers(customer_key)
    assert _codes(written, None) == ("private_key_encrypted",)
    assert _codes(written, b"wrong") == ("passphrase_wrong",)


def test_a_key_beside_its_certificate_with_crlf_and_bom_loads(
    customer_key: rsa.RSAPrivateKey, vector: Callable[[str], bytes]
) -> None:
    pile = vector("vendor.pem") + vector("customer.key")
    data = b"\xef\xbb\xbf" + pile.replace(b"\n", b"\r\n")
    assert numbers(load_private_key(data, None)) == numbers(customer_key)


def test_key_to_pem_writes_pkcs8_that_openssl_reads(
    customer_key: rsa.RSAPrivateKey, openssl: OpenSsl
) -> None:
    plain = key_to_pem(customer_key, None)
    sealed = key_to_pem(customer_key, PASSPHRASE)
    assert plain.startswith(b"-----BEGIN PRIVATE KEY-----\n")
    assert sealed.startswith(b"-----BEGIN ENCRYPTED PRIVATE KEY-----\n")
    checked = openssl(
        "pkey", "-check", "-noout", "-passin", f"pass:{PASSPHRASE.decode()}", stdin=sealed
    )
    assert b"Key is valid" in checked
    assert numbers(load_private_key(plain, None)) == numbers(customer_key)


def test_what_is_no_rsa_key_of_2048_bits_is_refused(vector: Callable[[str], bytes]) -> None:
    elliptic = ec.generate_private_key(ec.SECP256R1())
    short = rsa.generate_private_key(65537, 1024)  # noqa: S505 - the case itself
    pem = (Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    assert _codes(elliptic.private_bytes(*pem), None) == ("private_key_not_rsa",)
    assert _codes(short.private_bytes(*pem), None) == ("private_key_too_short",)
    assert _codes(vector("customer.key") * 2, None) == ("private_key_ambiguous",)


@pytest.mark.parametrize(
    ("name", "says"),
    [("vendor.pem", "a certificate"), ("customer-csr.der", "a CSR"), ("request.b64", "request")],
)
def test_another_file_in_place_of_the_key_is_called_by_its_name(
    vector: Callable[[str], bytes], name: str, says: str
) -> None:
    with pytest.raises(Refused, match=says) as refused:
        load_private_key(vector(name), None)
    assert refused.value.codes == ("private_key_missing",)


def test_an_empty_and_an_enormous_file_are_refused() -> None:
    assert _codes(b"", None) == ("private_key_missing",)
    assert _codes(b"\x30" * 10_000_000, None) == ("private_key_missing",)


def test_a_key_whose_numbers_do_not_fit_is_refused_unless_it_is_trusted(
    customer_key: rsa.RSAPrivateKey,
) -> None:
    der = bytearray(
        customer_key.private_bytes(Encoding.DER, PrivateFormat.TraditionalOpenSSL, NoEncryption())
    )
    der[-20] ^= 1  # in the coefficient, the last of the numbers
    assert _codes(bytes(der), None) == ("private_key_damaged",)
    assert _codes(bytes(der), b"not needed") == ("private_key_damaged",)
    assert load_private_key(bytes(der), None, trusted=True).key_size == 2048


def test_no_error_shows_key_or_passphrase(customer_key: rsa.RSAPrivateKey) -> None:
    secret_number = str(customer_key.private_numbers().d)
    sealed = key_to_pem(customer_key, PASSPHRASE)
    plain = key_to_pem(customer_key, None)
    broken = plain[:400] + b"AAAA" + plain[404:]
    lines = [line for line in (sealed + plain).splitlines() if len(line) == 64]
    wrong = b"a wrong passphrase"
    for data, passphrase in ((sealed, None), (sealed, wrong), (broken, wrong), (plain * 2, wrong)):
        with pytest.raises(Refused) as refused:
            load_private_key(data, passphrase)
        shown = "".join(traceback.format_exception(refused.value)) + repr(refused.value.__dict__)
        assert wrong.decode() not in shown
        assert secret_number not in shown
        assert not any(line.decode() in shown for line in lines)
        assert not any(base64.b64decode(line).hex() in shown for line in lines)


def test_pkcs12_gives_key_leaf_and_the_others(
    vendor_key: rsa.RSAPrivateKey, vector: Callable[[str], bytes]
) -> None:
    leaf, wwdr, root = parse_certificates(vector("chain.pem"))
    data = pkcs12.serialize_key_and_certificates(
        b"MDM Vendor", vendor_key, leaf, [wwdr, root], BestAvailableEncryption(PASSPHRASE)
    )
    key, got_leaf, others = load_pkcs12(data, PASSPHRASE)
    assert numbers(key) == numbers(vendor_key)
    assert got_leaf == leaf
    assert set(others) == {wwdr, root}
    assert _pkcs12_codes(data, b"wrong") == ("pkcs12_unreadable",)
    assert _pkcs12_codes(data, None) == ("pkcs12_unreadable",)
    assert _pkcs12_codes(data[:-50], PASSPHRASE) == ("pkcs12_unreadable",)


def test_pkcs12_made_by_openssl_loads(
    vendor_key: rsa.RSAPrivateKey, vectors: Path, openssl: OpenSsl
) -> None:
    written = openssl(
        "pkcs12",
        "-export",
        "-inkey",
        vectors / "vendor.key",
        "-in",
        vectors / "vendor.pem",
        "-passout",
        f"pass:{PASSPHRASE.decode()}",
    )
    assert numbers(load_pkcs12(written, PASSPHRASE)[0]) == numbers(vendor_key)


def test_pkcs12_without_a_key_is_refused(vector: Callable[[str], bytes]) -> None:
    certificates = parse_certificates(vector("chain.pem"))
    data = pkcs12.serialize_key_and_certificates(
        None, None, None, list(certificates), NoEncryption()
    )
    assert _pkcs12_codes(data, None) == ("pkcs12_incomplete",)


def test_the_written_key_is_standard_pkcs8(customer_key: rsa.RSAPrivateKey) -> None:
    loaded = load_pem_private_key(key_to_pem(customer_key, PASSPHRASE), PASSPHRASE)
    assert isinstance(loaded, rsa.RSAPrivateKey)
    assert numbers(loaded) == numbers(customer_key)


def _codes(data: bytes, passphrase: bytes | None) -> tuple[str, ...]:
    with pytest.raises(Refused) as refused:
        load_private_key(data, passphrase)
    return refused.value.codes


def _pkcs12_codes(data: bytes, passphrase: bytes | None) -> tuple[str, ...]:
    with pytest.raises(Refused) as refused:
        load_pkcs12(data, passphrase)
    return refused.value.codes
