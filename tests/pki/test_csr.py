"""CSRs: made as Keychain Access makes them, read in every form, vetted for everything."""

from __future__ import annotations

import importlib.util
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.x509.oid import NameOID
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lifecycle.errors import Refused
from lifecycle.pki.csr import MAX_CSR_BYTES, Csr, build_csr, parse_csr, read_csr, vet_csr
from lifecycle.pki.subject import check_subject


def _load_bad_csrs() -> ModuleType:
    path = Path(__file__).with_name("bad_csrs.py")
    spec = importlib.util.spec_from_file_location("bad_csrs", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


OpenSsl = Callable[..., bytes]

BAD_CSRS: tuple[Any, ...] = _load_bad_csrs().bad_csrs()

SAYS_WHAT_IT_IS = {
    "html_page": "a web page",
    "private_key_pem": "a private key",
    "private_key_pkcs8_der": "a private key",
    "private_key_pkcs1_der": "a private key",
    "private_key_encrypted_der": "a private key",
    "public_key_pem": "a public key",
    "certificate_pem": "a certificate",
    "certificate_der": "a certificate",
    "certificate_labelled_as_csr": "a certificate",
    "certificate_in_utf16": "a certificate",
    "request_base64": "a push certificate request",
    "request_plist": "a push certificate request",
    "pkcs12": "a PKCS#12 file",
    "pkcs7_der": "a PKCS#7 file",
}


@pytest.fixture(scope="module")
def good(customer_key: RSAPrivateKey) -> Csr:
    return build_csr(customer_key, email="it@acme.example", common_name="Acme Corp")


class TestBuilding:
    def test_a_built_csr_is_the_vector_byte_for_byte(
        self, good: Csr, vector: Callable[[str], bytes]
    ) -> None:
        assert good.der == vector("customer-csr.der")
        assert good.pem.encode() == vector("customer-csr.pem")

    def test_a_built_csr_is_what_parsing_it_gives(self, good: Csr) -> None:
        assert parse_csr(good.der) == good
        assert vet_csr(good) == ()

    @pytest.mark.parametrize(
        "name",
        [
            "Müller & Söhne GmbH",
            "株式会社日本モバイル管理サービス東京本社情報システム部",
            "Société Générale d'Équipement",
            "Школа № 57",
            "مدرسة الملك فهد",
            "😀 Emoji Inc",
            "界" * 64,
        ],
    )
    def test_names_of_any_script_are_utf8_and_openssl_agrees(
        self, customer_key: RSAPrivateKey, name: str, openssl: OpenSsl
    ) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            csr = build_csr(customer_key, email="it@acme.example", common_name=name)
            received = read_csr(csr.der)
        assert received.common_name == name
        assert received.info == received.parsed.tbs_certrequest_bytes
        read = ("req", "-inform", "DER", "-noout")
        openssl(*read, "-verify", stdin=csr.der)
        shown = openssl(*read, "-subject", "-nameopt", "utf8,sep_multiline", stdin=csr.der)
        assert b"CN=" + name.encode() in shown

    def test_each_attribute_has_its_string_type(
        self, customer_key: RSAPrivateKey, openssl: OpenSsl
    ) -> None:
        csr = build_csr(customer_key, email="it@acme.example", common_name="Zoë", country="DE")
        parsed = openssl("asn1parse", "-inform", "DER", stdin=csr.der)
        assert b"IA5STRING         :it@acme.example" in parsed
        assert b"UTF8STRING" in parsed
        assert b"PRINTABLESTRING   :DE" in parsed
        names = [a.oid for a in csr.parsed.subject]
        assert names == [NameOID.EMAIL_ADDRESS, NameOID.COMMON_NAME, NameOID.COUNTRY_NAME]

    def test_the_subject_is_an_argument_and_the_signature_is_sha256(
        self, customer_key: RSAPrivateKey
    ) -> None:
        csr = build_csr(customer_key, email="a@b.example", common_name="B", country="CH")
        assert (csr.email, csr.common_name, csr.country, csr.key_bits) == (
            "a@b.example",
            "B",
            "CH",
            2048,
        )
        assert csr.parsed.signature_algorithm_oid == x509.SignatureAlgorithmOID.RSA_WITH_SHA256

    @pytest.mark.parametrize(
        ("changed", "codes"),
        [
            ({"email": "jürgen@acme.example"}, ("email_not_ascii",)),
            ({"email": "it@müller.example"}, ("email_not_ascii",)),
            ({"email": "no address"}, ("email_invalid",)),
            ({"email": "a@b\n"}, ("email_invalid",)),
            ({"email": "a\0@b"}, ("email_invalid",)),
            ({"email": ""}, ("email_invalid",)),
            ({"email": "a" * 250 + "@b.example"}, ("email_invalid",)),
            ({"common_name": ""}, ("common_name_invalid",)),
            ({"common_name": "   "}, ("common_name_invalid",)),
            ({"common_name": "x" * 65}, ("common_name_invalid",)),
            ({"common_name": "界" * 65}, ("common_name_invalid",)),
            ({"common_name": "a\0b"}, ("common_name_invalid",)),
            ({"common_name": "a\nb"}, ("common_name_invalid",)),
            ({"common_name": "a\ud800b"}, ("common_name_invalid",)),
            ({"country": "us"}, ("country_invalid",)),
            ({"country": "USA"}, ("country_invalid",)),
            ({"country": "Ü1"}, ("country_invalid",)),
            (
                {"email": "é", "common_name": "", "country": ""},
                ("email_not_ascii", "common_name_invalid", "country_invalid"),
            ),
        ],
    )
    def test_subjects_that_a_csr_cannot_carry_are_refused_with_every_reason(
        self, customer_key: RSAPrivateKey, changed: dict[str, str], codes: tuple[str, ...]
    ) -> None:
        subject = {"email": "it@acme.example", "common_name": "Acme", "country": "US"} | changed
        with pytest.raises(Refused) as refused:
            build_csr(
                customer_key,
                email=subject["email"],
                common_name=subject["common_name"],
                country=subject["country"],
            )
        assert refused.value.codes == codes
        assert all(f.remedy for f in refused.value.findings)

    @given(name=st.text(min_size=1, max_size=64))
    @settings(
        max_examples=60,
        deadline=None,
        suppress_health_check=[HealthCheck.function_scoped_fixture],
    )
    def test_any_name_is_refused_or_comes_back_unchanged(
        self, customer_key: RSAPrivateKey, name: str
    ) -> None:
        if check_subject(email="a@b.example", common_name=name, country="US"):
            return
        csr = build_csr(customer_key, email="a@b.example", common_name=name)
        assert read_csr(csr.der).common_name == name


class TestParsing:
    @pytest.mark.parametrize(
        "name", ["customer-csr.pem", "customer-csr.der", "customer-csr-crlf.pem"]
    )
    def test_every_encoding_gives_the_same_der(
        self, vector: Callable[[str], bytes], name: str
    ) -> None:
        csr = read_csr(vector(name))
        assert csr.der == vector("customer-csr.der")
        assert (csr.email, csr.common_name, csr.country) == (
            "it@acme.example",
            "Acme Corp",
            "US",
        )

    @pytest.mark.parametrize("label", ["CERTIFICATE REQUEST", "NEW CERTIFICATE REQUEST"])
    @pytest.mark.parametrize(
        "arrive",
        [
            lambda pem: pem.encode(),
            lambda pem: b"\xef\xbb\xbf" + pem.encode(),
            lambda pem: pem.encode("utf-16"),
            lambda pem: ("Certificate Request:\n    Data:\n" + pem).encode(),
            lambda pem: pem.replace("\n", "\r\n").encode() + b"\r\n\r\n-- \r\nJo",
        ],
        ids=["plain", "bom", "utf16", "text_before", "mail"],
    )
    def test_labels_and_surroundings_do_not_matter(
        self, good: Csr, label: str, arrive: Callable[[str], bytes]
    ) -> None:
        data = arrive(good.pem.replace("CERTIFICATE REQUEST", label))
        assert read_csr(data) == good

    def test_what_openssl_writes_with_its_text_is_read(
        self, vectors: Path, openssl: OpenSsl
    ) -> None:
        path = vectors / "customer-csr.pem"
        text = openssl("req", "-in", path, "-text")
        assert text.startswith(b"Certificate Request:")
        assert read_csr(text).der == (vectors / "customer-csr.der").read_bytes()

    def test_the_bytes_are_kept_where_we_would_write_others(
        self, vectors: Path, customer_key: RSAPrivateKey, openssl: OpenSsl
    ) -> None:
        new = ("req", "-new", "-key", vectors / "customer.key", "-outform", "DER", "-sha512")
        made = openssl(*new, "-subj", "/emailAddress=a@b.example/CN=B/C=US")
        csr = read_csr(made)
        assert csr.der == made
        assert csr.der != build_csr(customer_key, email="a@b.example", common_name="B").der

    def test_a_name_of_more_than_64_bytes_is_read_without_a_warning(
        self, vectors: Path, openssl: OpenSsl
    ) -> None:
        new = ("req", "-new", "-key", vectors / "customer.key", "-outform", "DER", "-utf8")
        made = openssl(*new, "-subj", "/CN=" + "界" * 50)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert read_csr(made).common_name == "界" * 50

    def test_a_file_at_the_size_bound_is_read_and_one_byte_more_is_not(self, good: Csr) -> None:
        fill = good.pem.encode().ljust(MAX_CSR_BYTES, b"\n")
        assert parse_csr(fill) == good
        with pytest.raises(Refused) as refused:
            parse_csr(fill + b"\n")
        assert refused.value.codes == ("csr_too_large",)


class TestBadCsrs:
    def test_there_are_enough_cases_and_their_names_are_unique(self) -> None:
        names = [bad.name for bad in BAD_CSRS]
        assert len(names) >= 18
        assert len(set(names)) == len(names)

    @pytest.mark.parametrize("bad", BAD_CSRS, ids=lambda bad: bad.name)
    def test_it_is_refused_with_every_finding_and_a_remedy(self, bad: Any) -> None:
        with pytest.raises(Refused) as refused:
            read_csr(bad.data)
        assert frozenset(refused.value.codes) == bad.codes
        assert len(refused.value.codes) == len(bad.codes)
        for finding in refused.value.findings:
            assert finding.message.endswith((".", "!"))
            assert finding.remedy.endswith(".")

    @pytest.mark.parametrize("bad", BAD_CSRS, ids=lambda bad: bad.name)
    def test_the_message_says_what_the_file_is_instead(self, bad: Any) -> None:
        says = SAYS_WHAT_IT_IS.get(bad.name, "")
        with pytest.raises(Refused) as refused:
            read_csr(bad.data)
        assert says in str(refused.value)

    @given(data=st.data())
    @settings(
        max_examples=300,
        deadline=None,
        suppress_health_check=[HealthCheck.function_scoped_fixture],
    )
    def test_no_damage_makes_reading_fail_otherwise_or_pass_for_another_csr(
        self, good: Csr, data: st.DataObject
    ) -> None:
        der = bytearray(good.der)
        for _ in range(data.draw(st.integers(1, 3))):
            der[data.draw(st.integers(0, len(der) - 1))] = data.draw(st.integers(0, 255))
        try:
            parsed = parse_csr(bytes(der))
            assert parsed.info == parsed.parsed.tbs_certrequest_bytes
            read = read_csr(bytes(der))
        except Refused:
            return
        assert read.der == good.der
