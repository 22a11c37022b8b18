"""A file that asks for more work than anybody would wait for is refused, not worked through."""

from __future__ import annotations

import base64

import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    pkcs12,
)

from lifecycle.errors import Refused
from lifecycle.pki import der
from lifecycle.pki.keys import load_pkcs12, load_private_key
from lifecycle.pki.pair import PBKDF2_ROUNDS
from lifecycle.pki.pem import encode_pem
from lifecycle.pki.work_factor import MAX_ROUNDS, cost_findings

PBES2 = bytes.fromhex("06092a864886f70d01050d")
PBES1 = bytes.fromhex("06092a864886f70d01050a")
PBKDF2 = bytes.fromhex("06092a864886f70d01050c")
SCRYPT = bytes.fromhex("06092b06010401da47040b")
PKCS12_3DES = bytes.fromhex("060a2a864886f70d010c0103")
SHROUDED_BAG = bytes.fromhex("060b2a864886f70d010c0a0102")
AES = bytes.fromhex("060960864801650304012a")
DATA = bytes.fromhex("06092a864886f70d010701")
OCTETS, CONTEXT = 0x04, 0xA0


def integer(value: int) -> bytes:
    octets = value.to_bytes(value.bit_length() // 8 + 1, "big")
    return der.element(der.INTEGER, octets)


def sequence(*parts: bytes) -> bytes:
    return der.element(der.SEQUENCE, *parts)


def locked(derivation: bytes) -> bytes:
    """An EncryptedPrivateKeyInfo under PBES2."""
    cipher = sequence(AES, der.element(OCTETS, bytes(16)))
    return sequence(sequence(PBES2, sequence(derivation, cipher)), der.element(OCTETS, bytes(64)))


def pbkdf2(rounds: int) -> bytes:
    return sequence(PBKDF2, sequence(der.element(OCTETS, bytes(16)), integer(rounds)))


def scrypt(n: int, r: int, p: int) -> bytes:
    salt = der.element(OCTETS, bytes(16))
    return sequence(SCRYPT, sequence(salt, integer(n), integer(r), integer(p)))


def pfx(content: bytes, mac_rounds: int = 1) -> bytes:
    """A PKCS#12 file with one safe, which is not encrypted."""
    safe = der.element(OCTETS, sequence(sequence(DATA, der.element(CONTEXT, content))))
    digest = sequence(
        sequence(bytes.fromhex("0609608648016503040201")), der.element(OCTETS, bytes(32))
    )
    mac = sequence(digest, der.element(OCTETS, bytes(8)), integer(mac_rounds))
    return sequence(integer(3), sequence(DATA, der.element(CONTEXT, safe)), mac)


def bag(key: bytes) -> bytes:
    return der.element(OCTETS, sequence(sequence(SHROUDED_BAG, der.element(CONTEXT, key))))


@pytest.mark.parametrize(
    "asks",
    [
        pbkdf2(2**31 - 1),
        pbkdf2(2**63),
        pbkdf2(1 << 20_000),
        scrypt(2**20, 8, 16),
        scrypt(2**14, 8, 2**20),
    ],
)
def test_a_private_key_that_asks_for_endless_derivation_is_refused(asks: bytes) -> None:
    key = locked(asks)
    for data in (key, encode_pem("ENCRYPTED PRIVATE KEY", key).encode()):
        with pytest.raises(Refused) as refused:
            load_private_key(data, b"passphrase")
        assert refused.value.codes == ("key_derivation_too_costly",)


def test_a_private_key_locked_in_the_old_ways_is_refused_as_well() -> None:
    for scheme in (PBES1, PKCS12_3DES):
        parameters = sequence(der.element(OCTETS, bytes(8)), integer(2**31 - 1))
        key = sequence(sequence(scheme, parameters), der.element(OCTETS, bytes(64)))
        assert [f.code for f in cost_findings(key)] == ["key_derivation_too_costly"]


def test_a_pkcs12_file_is_refused_for_its_mac_and_for_its_key() -> None:
    for data in (pfx(bag(locked(pbkdf2(1))), 2**31 - 1), pfx(bag(locked(pbkdf2(2**31 - 1))))):
        with pytest.raises(Refused) as refused:
            load_pkcs12(data, b"passphrase")
        assert refused.value.codes == ("key_derivation_too_costly",)


def test_a_mac_behind_elements_of_indefinite_length_is_found_as_well() -> None:
    strict = pfx(bag(locked(pbkdf2(1))), 2**31 - 1)
    start = 4 if strict[1] == 0x82 else 3
    version, rest = strict[start : start + 3], strict[start + 3 :]
    length = der.element_length(rest)
    assert length is not None
    safe, mac = rest[:length], rest[length:]
    content = safe[4 if safe[1] == 0x82 else 3 if safe[1] == 0x81 else 2 :]
    open_safe = b"\x30\x80" + content + bytes(2)
    for inner in (safe, open_safe):
        loose = b"\x30\x80" + version + inner + mac + bytes(2)
        assert [f.code for f in cost_findings(loose)] == ["key_derivation_too_costly"]


def test_the_rounds_of_all_derivations_in_a_file_count_together() -> None:
    half = MAX_ROUNDS // 2
    assert not cost_findings(pfx(bag(locked(pbkdf2(half))), half))
    assert cost_findings(pfx(bag(locked(pbkdf2(half))), half + 1))


def test_a_refusal_says_how_many_rounds_the_file_asks_for() -> None:
    (finding,) = cost_findings(locked(pbkdf2(2**31 - 1)))
    assert "2,147,483,647" in finding.message


def test_a_key_of_more_than_8192_bits_is_refused_before_it_is_checked() -> None:
    long = sequence(integer(0), *(integer(1 << bits) for bits in (16_384, 17, 16_383, 8192)))
    pkcs8 = sequence(integer(0), sequence(), der.element(OCTETS, bytes(9000)))
    for data in (long + bytes(9000), encode_pem("PRIVATE KEY", pkcs8).encode()):
        with pytest.raises(Refused) as refused:
            load_private_key(data, None)
        assert refused.value.codes == ("private_key_too_long",)
    with pytest.raises(Refused) as refused:
        load_pkcs12(pfx(bag(pkcs8)), b"passphrase")
    assert refused.value.codes == ("private_key_too_long",)


def test_a_pkcs12_file_of_a_size_that_none_has_is_not_looked_at() -> None:
    with pytest.raises(Refused) as refused:
        load_pkcs12(bytes(300_000), None)
    assert refused.value.codes == ("pkcs12_too_large",)


def test_what_we_and_other_programs_write_is_well_below_the_limits() -> None:
    key = generate_private_key(65537, 2048)
    for form in (PrivateFormat.PKCS8, PrivateFormat.TraditionalOpenSSL):
        pem = key.private_bytes(Encoding.PEM, form, BestAvailableEncryption(b"x"))
        assert load_private_key(pem, b"x").private_numbers() == key.private_numbers()
    ours = PrivateFormat.PKCS12.encryption_builder().kdf_rounds(PBKDF2_ROUNDS)
    made = pkcs12.serialize_key_and_certificates(
        None, key, None, None, ours.hmac_hash(SHA256()).build(b"x")
    )
    assert not cost_findings(made)
    for bits in (4096, 8192):
        size = bits * 9 // 16 + 200  # n, d, p, q, dp, dq and qinv are four and a half times n
        assert not cost_findings(
            der.element(der.SEQUENCE, SHROUDED_BAG, der.element(CONTEXT, bytes(size)))
        )


def test_garbage_costs_nothing_and_finds_nothing() -> None:
    for data in (b"", b"0", b"\x30\x80", base64.b64decode("MIIB"), PBKDF2, PBKDF2 + b"\x30\x84"):
        assert not cost_findings(data)
