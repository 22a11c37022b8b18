"""CSRs that are found sound at a glance: no other than those in which nothing would be found."""

from __future__ import annotations

import hashlib
import importlib.util
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lifecycle.errors import Refused
from lifecycle.pki import der
from lifecycle.pki.csr import build_csr, read_csr
from lifecycle.pki.pem import pem_blocks
from lifecycle.pki.subject import plain_values
from lifecycle.pki.usual_csr import is_sound_at_a_glance

OpenSsl = Callable[..., bytes]
Vector = Callable[[str], bytes]

SHA256_WITH_RSA = bytes.fromhex("300d06092a864886f70d01010b0500")
SHA256_INFO = bytes.fromhex("3031300d060960864801650304020105000420")
EMAIL, NAME, COUNTRY = "06092a864886f70d010901", "0603550403", "0603550406"
ORGANIZATION = "060355040a"
UTF8, PRINTABLE, TELETEX, IA5, BMP = der.UTF8_STRING, der.PRINTABLE_STRING, 20, der.IA5_STRING, 30

Attribute = tuple[str, int, bytes]
ACME: Attribute = (NAME, UTF8, b"Acme")


def bad_csrs() -> tuple[Any, ...]:
    path = Path(__file__).with_name("bad_csrs.py")
    spec = importlib.util.spec_from_file_location("bad_csrs", path)
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules.get(spec.name) or importlib.util.module_from_spec(spec)
    if spec.name not in sys.modules:
        sys.modules[spec.name] = module
        spec.loader.exec_module(module)
    found: tuple[Any, ...] = module.bad_csrs()
    return found


def name(*attributes: Attribute) -> bytes:
    """A Name of one attribute in each set."""
    return der.element(
        der.SEQUENCE,
        *(
            der.element(
                der.SET,
                der.element(der.SEQUENCE, bytes.fromhex(oid), der.element(kind, text)),
            )
            for oid, kind, text in attributes
        ),
    )


def info_of(key: RSAPrivateKey, *attributes: Attribute, wants: bytes = b"") -> bytes:
    """What a CSR signs of itself."""
    spki = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    version = der.element(der.INTEGER, b"\0")
    wanted = der.element(der.CONTEXT_0, wants)
    return der.element(der.SEQUENCE, version, name(*attributes), spki, wanted)


def signed(
    info: bytes, key: RSAPrivateKey, *, algorithm: bytes = SHA256_WITH_RSA, digest: Any = None
) -> bytes:
    """The CSR, with a signature that holds."""
    return whole(info, key.sign(info, PKCS1v15(), digest or hashes.SHA256()), algorithm)


def whole(info: bytes, signature: bytes, algorithm: bytes = SHA256_WITH_RSA) -> bytes:
    """The CSR, with any signature."""
    bits = der.element(der.BIT_STRING, b"\0", signature)
    return der.element(der.SEQUENCE, info, algorithm, bits)


def is_taken(csr: bytes) -> bool:
    """Whether ``read_csr`` takes it, with these bytes."""
    try:
        return read_csr(csr).der == csr
    except Refused:
        return False


class TestWhatIsSound:
    def test_what_an_instance_makes(self, customer_key: RSAPrivateKey, vector: Vector) -> None:
        assert is_sound_at_a_glance(vector("customer-csr.der"))
        for common_name in ("A", "Müller & Söhne GmbH", "株式会社日本", "x" * 64):
            csr = build_csr(customer_key, email="it@acme.example", common_name=common_name)
            assert is_sound_at_a_glance(csr.der)

    @pytest.mark.parametrize(
        "subject", ["/CN=Acme", "/emailAddress=it@acme.example/CN=Zoë/C=CH", "/C=US/CN=B"]
    )
    def test_what_openssl_makes(self, vectors: Path, openssl: OpenSsl, subject: str) -> None:
        new = ("req", "-new", "-key", vectors / "customer.key", "-outform", "DER", "-utf8")
        assert is_sound_at_a_glance(openssl(*new, "-sha256", "-subj", subject))

    def test_one_with_a_signature_that_begins_with_zeros(self, customer_key: RSAPrivateKey) -> None:
        for number in range(10_000):
            csr = signed(info_of(customer_key, (NAME, UTF8, b"%d" % number)), customer_key)
            if csr[-256] == 0:
                break
        assert is_sound_at_a_glance(csr)
        assert is_taken(csr)
        # Without them it would be the same number, and is none: RFC 8017, 8.2.2, step 1.
        shorter = whole(der.element(der.SEQUENCE, csr[8:-276]), csr[-255:])
        assert not is_sound_at_a_glance(shorter)
        assert not is_taken(shorter)


class TestWhatIsLookedAtMoreClosely:
    def test_all_that_is_refused(self) -> None:
        csrs = [
            data
            for bad in bad_csrs()
            if len(bad.data) < 10_000
            for data in (bad.data, *(block.der for block in blocks_of(bad.data)))
        ]
        assert len(csrs) > 50
        assert not any(is_sound_at_a_glance(csr) for csr in csrs if not is_taken(csr))

    def test_all_that_has_another_byte_around_subject_modulus_and_signature(
        self, vector: Vector, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def never(data: bytes) -> x509.CertificateSigningRequest:
            raise AssertionError("it is not in the usual form, and was loaded")

        good = vector("customer-csr.der")
        monkeypatch.setattr(x509, "load_der_x509_csr", never)
        before_modulus = len(good) - 256 - 27 - 256
        around = [
            *range(13),
            *range(before_modulus - 33, before_modulus),
            *range(len(good) - 256 - 27, len(good) - 256),
        ]
        for at in around:
            for bit in range(8):
                changed = bytearray(good)
                changed[at] ^= 1 << bit
                assert not is_sound_at_a_glance(bytes(changed)), at
        short_modulus = bytearray(good)
        short_modulus[before_modulus] &= 0x7F
        assert not is_sound_at_a_glance(bytes(short_modulus))
        for cut in range(len(good)):
            assert not is_sound_at_a_glance(good[:cut])
            assert not is_sound_at_a_glance(good[cut:][1:])
        assert not is_sound_at_a_glance(good + b"\0")
        with pytest.raises(AssertionError):
            is_sound_at_a_glance(good)

    @pytest.mark.parametrize(("bits", "taken"), [(2047, False), (2056, True), (3072, True)])
    def test_keys_of_another_size(self, bits: int, taken: bool) -> None:
        key = generate_private_key(65537, bits)
        csr = signed(info_of(key, ACME), key)
        assert not is_sound_at_a_glance(csr)
        assert is_taken(csr) is taken

    def test_keys_with_another_exponent(self) -> None:
        key = generate_private_key(3, 2048)
        assert not is_sound_at_a_glance(signed(info_of(key, ACME), key))

    def test_attributes_even_if_they_end_as_none_would(self, customer_key: RSAPrivateKey) -> None:
        value = der.element(der.SET, der.element(0x04, bytes.fromhex("0102a000")))
        wants = der.element(der.SEQUENCE, bytes.fromhex("06022a03"), value)
        csr = signed(info_of(customer_key, ACME, wants=wants), customer_key)
        assert is_taken(csr)
        assert not is_sound_at_a_glance(csr)

    @pytest.mark.parametrize(
        ("algorithm", "digest"),
        [
            ("300b06092a864886f70d01010b", hashes.SHA256()),
            ("300d06092a864886f70d01010c0500", hashes.SHA384()),
            ("300d06092a864886f70d01010d0500", hashes.SHA512()),
            ("300d06092a864886f70d0101050500", hashes.SHA256()),
        ],
    )
    def test_other_signatures(
        self, customer_key: RSAPrivateKey, algorithm: str, digest: hashes.HashAlgorithm
    ) -> None:
        info = info_of(customer_key, ACME)
        csr = signed(info, customer_key, algorithm=bytes.fromhex(algorithm), digest=digest)
        assert not is_sound_at_a_glance(csr)

    @pytest.mark.parametrize(
        "attributes",
        [
            (),
            ((NAME, UTF8, b""),),
            ((NAME, UTF8, b"\xff"),),
            ((NAME, UTF8, b"\xed\xa0\x80"),),
            ((EMAIL, IA5, b"\xe9@acme.example"),),
            ((EMAIL, IA5, "ü@acme.example".encode()),),
            ((COUNTRY, PRINTABLE, b"\xc3\x9c"),),
            ((NAME, PRINTABLE, b"a@b"),),
            ((NAME, TELETEX, b"Acme"),),
            ((NAME, BMP, b"\0A"),),
            ((ORGANIZATION, UTF8, b"Acme"),),
            ((NAME, UTF8, b"x" * 64), (EMAIL, IA5, b"x" * 64)),
        ],
    )
    def test_other_subjects(
        self, customer_key: RSAPrivateKey, attributes: tuple[Attribute, ...]
    ) -> None:
        csr = signed(info_of(customer_key, *attributes), customer_key)
        assert not is_sound_at_a_glance(csr)


@pytest.fixture(scope="module")
def info(customer_key: RSAPrivateKey) -> bytes:
    """What a CSR of the customer's signs of itself."""
    return info_of(customer_key, ACME)


def blocks_of(data: bytes) -> Iterator[Any]:
    try:
        yield from pem_blocks(data)
    except Refused:
        return


class TestSignatures:
    """Of everything that an RSA signature can hold, the one DigestInfo is taken, and no other."""

    @staticmethod
    def holding(held: bytes, info: bytes, key: RSAPrivateKey) -> bytes:
        """A CSR whose signature, taken apart with the public key, is this."""
        numbers = key.private_numbers()
        assert len(held) == 256
        number = pow(int.from_bytes(held, "big"), numbers.d, numbers.public_numbers.n)
        return whole(info, number.to_bytes(256, "big"))

    @staticmethod
    def padded(held: bytes) -> bytes:
        return b"\0\1" + b"\xff" * (253 - len(held)) + b"\0" + held

    def test_the_right_one_is_taken(self, info: bytes, customer_key: RSAPrivateKey) -> None:
        right = self.padded(SHA256_INFO + hashlib.sha256(info).digest())
        csr = self.holding(right, info, customer_key)
        assert csr == signed(info, customer_key)
        assert is_sound_at_a_glance(csr)

    def test_no_other_is_taken(self, info: bytes, customer_key: RSAPrivateKey) -> None:
        digest = hashlib.sha256(info).digest()
        right = SHA256_INFO + digest
        without_null = bytes.fromhex("302f300b0609608648016503040201" + "0420") + digest
        sha384 = bytes.fromhex("3041300d060960864801650304020205000430")
        others = {
            "no NULL": self.padded(without_null),
            "no DigestInfo": self.padded(digest),
            "another digest": self.padded(SHA256_INFO + hashlib.sha256(b"other").digest()),
            "SHA-384": self.padded(sha384 + hashlib.sha384(info).digest()),
            "something behind it": self.padded(right + b"\0"),
            "something before it": self.padded(b"\0" + right),
            "cut off": self.padded(right[:-1]),
            "nothing": self.padded(b""),
            "garbage behind it": b"\0\1" + b"\xff" * 8 + b"\0" + right + bytes(256 - 11 - 51),
            "padding of another kind": b"\0\2" + self.padded(right)[2:],
            "padding of kind 0": bytes(256 - 51) + right,
            "padding with a hole": b"\0\1\xff\xff\xfe" + self.padded(right)[5:],
            "no end of the padding": b"\0\1" + b"\xff" * 254,
        }
        for what, held in others.items():
            csr = self.holding(held, info, customer_key)
            assert not is_sound_at_a_glance(csr), what
            with pytest.raises(Refused) as refused:
                read_csr(csr)
            assert refused.value.codes == ("csr_signature_invalid",), what

    def test_a_number_beyond_the_modulus_is_not_taken(
        self, info: bytes, customer_key: RSAPrivateKey
    ) -> None:
        modulus = customer_key.public_key().public_numbers().n
        right = int.from_bytes(signed(info, customer_key)[-256:], "big")
        for number in (0, 1, modulus - 1, modulus, right + modulus):
            if number < 1 << 2048:
                csr = whole(info, number.to_bytes(256, "big"))
                assert not is_sound_at_a_glance(csr)
                assert not is_taken(csr)


@given(data=st.data())
@settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_whatever_is_signed_is_sound_at_a_glance_only_where_reading_finds_nothing(
    customer_key: RSAPrivateKey, data: st.DataObject
) -> None:
    content = bytearray(
        info_of(customer_key, (EMAIL, IA5, b"a@b"), ACME, (COUNTRY, IA5, b"US"))[4:]
    )
    for _ in range(data.draw(st.integers(0, 3))):
        at = data.draw(st.integers(0, 60))
        stands = data.draw(st.integers(0, 2))
        content[at : at + stands] = data.draw(st.binary(max_size=3))
    csr = signed(der.element(der.SEQUENCE, bytes(content)), customer_key)
    assert not is_sound_at_a_glance(csr) or is_taken(csr)


def test_a_text_that_goes_on_behind_the_subject_is_not_read() -> None:
    subject = name((EMAIL, IA5, b"a@b"), ACME)
    assert plain_values(subject, 2, len(subject)) is not None
    assert plain_values(subject, 2, len(subject) - 1) is None


@pytest.mark.filterwarnings("ignore:Attribute's length must be")
@given(
    attributes=st.lists(
        st.tuples(
            st.sampled_from([EMAIL, NAME, COUNTRY]),
            st.sampled_from([UTF8, PRINTABLE, IA5, TELETEX]),
            st.one_of(st.text("Ab ü界", max_size=12).map(str.encode), st.binary(max_size=4)),
        ),
        max_size=4,
    )
)
@settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_a_subject_in_its_usual_form_is_read_as_cryptography_reads_it(
    customer_key: RSAPrivateKey, attributes: list[Attribute]
) -> None:
    csr = signed(info_of(customer_key, *attributes), customer_key)
    ends = 13 + len(name(*attributes)) - 2
    if ends >= 13 + 0x80:
        return
    try:
        read = {a.oid: a.value for a in x509.load_der_x509_csr(csr).subject if a.value}
    except (ValueError, TypeError):
        assert not is_sound_at_a_glance(csr)
        return
    plain = plain_values(csr, 13, ends)
    assert plain in (None, read)
    assert is_sound_at_a_glance(csr) is bool(plain)
