"""Push certificate requests: the vectors byte for byte, and all that a portal would refuse."""

from __future__ import annotations

import base64
import dataclasses
import plistlib
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from lifecycle.errors import Refused
from lifecycle.pki.chain import Chain, TrustStore, parse_certificates
from lifecycle.pki.csr import build_csr, parse_csr, read_csr
from lifecycle.pki.pem import encode_pem, lines_obey_rule
from lifecycle.pki.request import (
    MAX_REQUEST_BYTES,
    KeySigner,
    PushCertRequest,
    check_request,
    decode_request,
    sign_request,
)

OpenSsl = Callable[..., bytes]
Vector = Callable[[str], bytes]
ENCODINGS = ["customer-csr.pem", "customer-csr.der", "customer-csr-crlf.pem"]
ENTITY_BOMB = (
    '<?xml version="1.0" encoding="%s"?>\n<!DOCTYPE plist [<!ENTITY a "aaaaaaaaaa">'
    '<!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;&a;&a;">]>\n'
    '<plist version="1.0"><dict><key>PushCertRequestCSR</key><string>&b;</string></dict></plist>'
)


@pytest.fixture(scope="module")
def request_of_vectors(vector: Vector) -> PushCertRequest:
    return decode_request(vector("request.b64"))


class TestSigning:
    @pytest.mark.parametrize("name", ENCODINGS)
    def test_every_encoding_of_the_csr_gives_the_vector_byte_for_byte(
        self, name: str, vector: Vector, vendor_key: RSAPrivateKey, vendor_chain: Chain
    ) -> None:
        signed = sign_request(read_csr(vector(name)), KeySigner(vendor_key), vendor_chain)
        assert signed.plist() == vector("request.plist")
        assert signed.encode().encode() == vector("request.b64")

    @pytest.mark.parametrize("name", ENCODINGS)
    def test_openssl_accepts_the_signature(
        self,
        name: str,
        vector: Vector,
        vectors: Path,
        vendor_key: RSAPrivateKey,
        vendor_chain: Chain,
        tmp_path: Path,
        openssl: OpenSsl,
    ) -> None:
        signed = sign_request(read_csr(vector(name)), KeySigner(vendor_key), vendor_chain)
        fields = plistlib.loads(base64.b64decode(signed.encode()))
        (tmp_path / "csr.der").write_bytes(base64.b64decode(fields["PushCertRequestCSR"]))
        (tmp_path / "signature").write_bytes(base64.b64decode(fields["PushCertSignature"]))
        public = openssl("x509", "-in", vectors / "vendor.pem", "-noout", "-pubkey")
        (tmp_path / "vendor.pub").write_bytes(public)
        verify = ("dgst", "-sha256", "-verify", tmp_path / "vendor.pub")
        checked = openssl(*verify, "-signature", tmp_path / "signature", tmp_path / "csr.der")
        assert checked == b"Verified OK\n"
        assert lines_obey_rule(fields["PushCertCertificateChain"])

    def test_the_plist_is_the_one_that_plistlib_writes(
        self, request_of_vectors: PushCertRequest
    ) -> None:
        fields = {
            "PushCertRequestCSR": base64.b64encode(request_of_vectors.csr_der).decode(),
            "PushCertCertificateChain": request_of_vectors.chain_pem,
            "PushCertSignature": base64.b64encode(request_of_vectors.signature).decode(),
        }
        assert request_of_vectors.plist() == plistlib.dumps(fields)

    def test_a_key_that_is_not_the_leafs_is_refused(
        self, vector: Vector, customer_key: RSAPrivateKey, vendor_chain: Chain
    ) -> None:
        with pytest.raises(Refused, match="MDM Vendor: Example MDM") as refused:
            sign_request(
                read_csr(vector("customer-csr.der")), KeySigner(customer_key), vendor_chain
            )
        assert refused.value.codes == ("signer_key_mismatch",)

    def test_a_signer_that_returns_nonsense_is_caught(
        self, vector: Vector, vendor_chain: Chain
    ) -> None:
        class Broken:
            def sign(self, data: bytes) -> bytes:
                return data[:1] * 256

        with pytest.raises(Refused) as refused:
            sign_request(read_csr(vector("customer-csr.der")), Broken(), vendor_chain)
        assert refused.value.codes == ("signer_key_mismatch",)

    def test_an_elliptic_leaf_is_refused(
        self, vector: Vector, vendor_key: RSAPrivateKey, issuing: Callable[..., Any]
    ) -> None:
        chain = Chain((issuing("EC Vendor").certificate,))
        with pytest.raises(Refused) as refused:
            sign_request(read_csr(vector("customer-csr.der")), KeySigner(vendor_key), chain)
        assert refused.value.codes == ("signer_key_not_rsa",)

    def test_repr_of_a_signer_shows_no_key(self, vendor_key: RSAPrivateKey) -> None:
        assert repr(KeySigner(vendor_key)) == "KeySigner(<private key>)"

    def test_a_chain_that_is_no_pem_cannot_break_out_of_the_plist(
        self, request_of_vectors: PushCertRequest
    ) -> None:
        forged = dataclasses.replace(request_of_vectors, chain_pem="</string><key>x</key>")
        with pytest.raises(ValueError, match="must be PEM"):
            forged.plist()


class TestDecoding:
    @pytest.mark.parametrize(
        "arrive",
        [
            lambda data: data,
            lambda data: data + b"\r\n",
            lambda data: b"\xef\xbb\xbf" + data,
            lambda data: data.decode().encode("utf-16"),
            lambda data: base64.encodebytes(base64.b64decode(data)),
            lambda data: base64.b64decode(data),
            lambda data: b"\xef\xbb\xbf" + base64.b64decode(data),
            lambda data: base64.b64decode(data).replace(b"\n", b"\r\n"),
        ],
        ids=["plain", "crlf", "bom", "utf16", "wrapped", "plist", "plist_bom", "plist_crlf"],
    )
    def test_every_way_a_request_arrives_is_read(
        self, vector: Vector, arrive: Callable[[bytes], bytes]
    ) -> None:
        decoded = decode_request(arrive(vector("request.b64")))
        assert decoded.csr_der == vector("customer-csr.der")
        assert decoded.chain_pem.encode() == vector("chain.pem")
        assert decoded.encode().encode() == vector("request.b64")

    def test_line_breaks_in_the_fields_as_in_apples_sample_are_read(self, vector: Vector) -> None:
        fields = plistlib.loads(vector("request.plist"))
        wrapped = {
            key: base64.encodebytes(base64.b64decode(fields[key])).decode()
            for key in ("PushCertRequestCSR", "PushCertSignature")
        }
        decoded = decode_request(plistlib.dumps(fields | wrapped))
        assert decoded.csr_der == vector("customer-csr.der")

    @given(
        csr=st.binary(min_size=1, max_size=300),
        ders=st.lists(st.binary(min_size=1, max_size=200), min_size=1, max_size=4),
        signature=st.binary(min_size=1, max_size=300),
    )
    @example(csr=b"\0", ders=[b"\0"], signature=b"\0")
    def test_what_is_encoded_is_decoded(
        self, csr: bytes, ders: list[bytes], signature: bytes
    ) -> None:
        pem = "".join(encode_pem("CERTIFICATE", der) for der in ders)
        request = PushCertRequest(csr, pem, signature)
        assert decode_request(request.encode().encode()) == request
        assert decode_request(request.plist()) == request

    @pytest.mark.parametrize(
        ("name", "says"),
        [
            ("customer-csr.pem", "a CSR"),
            ("customer-csr.der", "a CSR"),
            ("vendor.pem", "a certificate"),
            ("vendor.key", "a private key"),
        ],
    )
    def test_another_file_is_called_by_its_name(self, vector: Vector, name: str, says: str) -> None:
        with pytest.raises(Refused, match=says) as refused:
            decode_request(vector(name))
        assert refused.value.codes == ("request_missing",)

    @pytest.mark.parametrize(
        ("data", "code"),
        [
            (b"", "request_missing"),
            (b"hello", "request_missing"),
            (b"<html><body>Sign in</body></html>", "request_missing"),
            (b"\0" * 100, "request_missing"),
            (b"A" * (MAX_REQUEST_BYTES + 1), "request_too_large"),
            (base64.b64encode(b"no plist"), "request_missing"),
            (plistlib.dumps([1, 2]), "request_damaged"),
            (plistlib.dumps({}), "request_incomplete"),
            (plistlib.dumps({"PushCertRequestCSR": "AA=="}), "request_incomplete"),
            (b'<?xml version="1.0"?><plist><dict>', "request_damaged"),
            (b'<?xml version="1.0"?><plist>' + b"<array>" * 50_000, "request_damaged"),
            (b'<?xml version="1.0"?><plist><integer>x</integer></plist>', "request_damaged"),
            (b'<?xml version="1.0"?><plist><date>x</date></plist>', "request_damaged"),
            (b'<?xml version="1.0"?><plist><nonsense/></plist>', "request_damaged"),
            (b'<?xml version="1.0"?><plist><key>a</key></plist>', "request_damaged"),
            ((ENTITY_BOMB % "UTF-8").encode(), "request_damaged"),
            ((ENTITY_BOMB % "UTF-16").encode("utf-16"), "request_damaged"),
            (base64.b64encode((ENTITY_BOMB % "UTF-8").encode()), "request_damaged"),
        ],
    )
    def test_what_is_no_request_is_refused(self, data: bytes, code: str) -> None:
        with pytest.raises(Refused) as refused:
            decode_request(data)
        assert refused.value.codes == (code,)
        assert all(f.remedy for f in refused.value.findings)

    def test_an_entity_bomb_is_refused_in_an_encoding_that_hides_it(self) -> None:
        hidden = base64.b64encode((ENTITY_BOMB % "UTF-16").encode("utf-16"))
        with pytest.raises(Refused):
            decode_request(hidden)

    def test_an_external_entity_is_not_fetched(self, tmp_path: Path) -> None:
        secret = tmp_path / "secret"
        secret.write_text("AAAA")
        xml = (
            f'<?xml version="1.0"?><!DOCTYPE plist [<!ENTITY x SYSTEM "file://{secret}">]>'
            "<plist><dict><key>PushCertRequestCSR</key><string>&x;</string></dict></plist>"
        )
        with pytest.raises(Refused):
            decode_request(xml.encode())

    @pytest.mark.parametrize(
        "key", ["PushCertRequestCSR", "PushCertCertificateChain", "PushCertSignature"]
    )
    def test_a_field_as_data_or_absent_or_empty_is_named(self, vector: Vector, key: str) -> None:
        fields = plistlib.loads(vector("request.plist"))
        for wrong in ({key: b"bytes"}, {key: " \n"}, {key: 7}):
            with pytest.raises(Refused, match=key) as refused:
                decode_request(plistlib.dumps(fields | wrong))
            assert refused.value.codes == ("request_incomplete",)

    @pytest.mark.parametrize("key", ["PushCertRequestCSR", "PushCertSignature"])
    def test_a_field_that_is_no_base64_is_named(self, vector: Vector, key: str) -> None:
        fields = plistlib.loads(vector("request.plist"))
        for wrong in ("A", "****", "ä"):
            with pytest.raises(Refused, match=key) as refused:
                decode_request(plistlib.dumps(fields | {key: wrong}))
            assert refused.value.codes == ("request_damaged",)

    @given(data=st.data())
    @settings(
        max_examples=200,
        deadline=None,
        suppress_health_check=[HealthCheck.function_scoped_fixture],
    )
    def test_no_damage_makes_decoding_or_checking_fail_otherwise(
        self,
        vector: Vector,
        vector_trust: TrustStore,
        vector_time: datetime,
        data: st.DataObject,
    ) -> None:
        source = bytearray(vector(data.draw(st.sampled_from(["request.b64", "request.plist"]))))
        for _ in range(data.draw(st.integers(1, 4))):
            source[data.draw(st.integers(0, len(source) - 1))] = data.draw(st.integers(0, 255))
        try:
            decoded = decode_request(bytes(source))
        except Refused:
            return
        check_request(decoded, vector_trust, at=vector_time)


class TestChecking:
    @pytest.fixture
    def found(
        self, request_of_vectors: PushCertRequest, vector_trust: TrustStore, vector_time: datetime
    ) -> Callable[..., list[str]]:
        """The codes found about the vectors' request with some fields replaced."""

        def codes_with(at: datetime = vector_time, **changed: object) -> list[str]:
            request = dataclasses.replace(request_of_vectors, **changed)  # type: ignore[arg-type]
            return [f.code for f in check_request(request, vector_trust, at=at)]

        return codes_with

    def test_the_request_of_the_vectors_is_sound(self, found: Callable[..., list[str]]) -> None:
        assert found() == []

    def test_white_space_around_the_chain_as_in_apples_sample_is_sound(
        self, found: Callable[..., list[str]], vector: Vector
    ) -> None:
        assert found(chain_pem="\n" + vector("chain.pem").decode() + "\n    ") == []

    def test_a_changed_csr_breaks_both_signatures(
        self, found: Callable[..., list[str]], vector: Vector
    ) -> None:
        changed = vector("customer-csr.der").replace(b"Acme", b"Evil")
        assert found(csr_der=changed) == ["csr_signature_invalid", "request_signature_invalid"]

    def test_another_csr_than_the_signed_one_is_found(
        self, found: Callable[..., list[str]], customer_key: RSAPrivateKey
    ) -> None:
        other = build_csr(customer_key, email="a@b.example", common_name="Other")
        assert found(csr_der=other.der) == ["request_signature_invalid"]

    def test_a_csr_that_is_none_is_found(self, found: Callable[..., list[str]]) -> None:
        assert found(csr_der=b"junk") == ["csr_missing", "request_signature_invalid"]

    def test_a_signature_over_sha1_is_told_apart(
        self, found: Callable[..., list[str]], vendor_key: RSAPrivateKey, vector: Vector
    ) -> None:
        old = vendor_key.sign(
            vector("customer-csr.der"),
            padding.PKCS1v15(),
            hashes.SHA1(),  # noqa: S303 - the case itself
        )
        assert found(signature=old) == ["request_signature_sha1"]

    @pytest.mark.parametrize("signature", [b"", b"\0", bytes(256), b"\xff" * 256, bytes(9999)])
    def test_a_signature_that_is_none_is_found(
        self, found: Callable[..., list[str]], signature: bytes
    ) -> None:
        assert found(signature=signature) == ["request_signature_invalid"]

    def test_a_signature_by_the_customers_own_key_is_found(
        self, found: Callable[..., list[str]], customer_key: RSAPrivateKey, vector: Vector
    ) -> None:
        own = KeySigner(customer_key).sign(vector("customer-csr.der"))
        assert found(signature=own) == ["request_signature_invalid"]

    @pytest.mark.parametrize(
        "names",
        [
            ("root.pem", "wwdr.pem", "vendor.pem"),
            ("wwdr.pem", "vendor.pem", "root.pem"),
            ("vendor.pem", "root.pem", "wwdr.pem"),
        ],
    )
    def test_a_wrong_order_is_found_once(
        self, found: Callable[..., list[str]], vector: Vector, names: tuple[str, ...]
    ) -> None:
        assert found(chain_pem=_pile(vector, *names)) == ["request_chain_order"]

    @pytest.mark.parametrize(
        ("names", "lacks"),
        [
            (("vendor.pem", "wwdr.pem"), ["Example Root CA"]),
            (("vendor.pem", "root.pem"), ["Developer Relations"]),
            (("vendor.pem",), ["Developer Relations", "Example Root CA"]),
        ],
    )
    def test_what_the_chain_lacks_is_named(
        self,
        request_of_vectors: PushCertRequest,
        vector_trust: TrustStore,
        vector_time: datetime,
        vector: Vector,
        names: tuple[str, ...],
        lacks: list[str],
    ) -> None:
        request = dataclasses.replace(request_of_vectors, chain_pem=_pile(vector, *names))
        findings = check_request(request, vector_trust, at=vector_time)
        codes = [f.code for f in findings]
        assert "request_chain_incomplete" in codes
        message = findings[codes.index("request_chain_incomplete")].message
        assert all(name in message for name in lacks)

    def test_a_surplus_certificate_is_found(
        self, found: Callable[..., list[str]], vector: Vector
    ) -> None:
        four = _pile(vector, "vendor.pem", "wwdr.pem", "root.pem", "aai.pem")
        twice = _pile(vector, "vendor.pem", "wwdr.pem", "wwdr.pem", "root.pem")
        assert found(chain_pem=twice) == ["request_chain_surplus"]
        assert "request_chain_surplus" in found(chain_pem=four)

    def test_a_root_that_is_not_trusted_is_found(
        self, request_of_vectors: PushCertRequest, vector_time: datetime
    ) -> None:
        findings = check_request(request_of_vectors, TrustStore.apple(), at=vector_time)
        assert [f.code for f in findings] == ["chain_root_untrusted"]

    def test_each_expired_and_each_not_yet_valid_certificate_is_found(
        self, found: Callable[..., list[str]]
    ) -> None:
        after_leaf_and_wwdr = datetime(2036, 11, 22, tzinfo=UTC)
        assert found(after_leaf_and_wwdr) == ["chain_certificate_expired"] * 2
        before_all = datetime(2026, 11, 24, tzinfo=UTC) - timedelta(days=1)
        assert found(before_all) == ["chain_certificate_not_yet_valid"] * 3

    @pytest.mark.parametrize(
        "change",
        [
            lambda pem: pem.replace("\n", "\r\n"),
            lambda pem: "subject=/CN=x\n" + pem,
            lambda pem: pem.replace("-----END CERTIFICATE-----\n", "-----END CERTIFICATE-----\n\n"),
            lambda pem: _rewrapped(pem, 76),
            lambda pem: _rewrapped(pem, 10_000),
        ],
        ids=["crlf", "text", "blank_lines", "76_columns", "one_line"],
    )
    def test_a_broken_line_rule_is_found(
        self, found: Callable[..., list[str]], vector: Vector, change: Callable[[str], str]
    ) -> None:
        assert found(chain_pem=change(vector("chain.pem").decode())) == ["request_pem_line_rule"]

    def test_a_chain_that_is_none_is_found(self, found: Callable[..., list[str]]) -> None:
        assert found(chain_pem="no PEM") == ["request_pem_line_rule", "certificate_missing"]

    def test_a_chain_of_one_damaged_certificate_is_found(
        self, found: Callable[..., list[str]]
    ) -> None:
        broken = encode_pem("CERTIFICATE", b"\x30\x03abc")
        assert found(chain_pem=broken) == ["certificate_damaged"]

    def test_everything_is_found_at_once(
        self, found: Callable[..., list[str]], vector: Vector
    ) -> None:
        pile = _pile(vector, "wwdr.pem", "vendor.pem").replace("\n", "\r\n")
        assert found(
            datetime(2036, 11, 22, tzinfo=UTC), csr_der=b"junk", chain_pem=pile, signature=b""
        ) == [
            "csr_missing",
            "request_pem_line_rule",
            "request_signature_invalid",
            "request_chain_order",
            "request_chain_incomplete",
            "chain_certificate_expired",
            "chain_certificate_expired",
        ]


def test_the_public_key_of_the_leaf_is_the_vendors(
    vendor_chain: Chain, vendor_key: RSAPrivateKey, vector: Vector
) -> None:
    form = (Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    assert vendor_chain.leaf_key.public_bytes(*form) == vendor_key.public_key().public_bytes(*form)
    assert parse_certificates(vector("vendor.pem")) == (vendor_chain.leaf,)
    assert parse_csr(vector("customer-csr.der")).key_bits == 2048


def _pile(vector: Vector, *names: str) -> str:
    return "".join(vector(name).decode() for name in names)


def _rewrapped(pem: str, columns: int) -> str:
    wrapped = []
    for certificate in parse_certificates(pem.encode()):
        body = base64.b64encode(certificate.public_bytes(Encoding.DER)).decode()
        lines = [body[i : i + columns] for i in range(0, len(body), columns)]
        wrapped += ["-----BEGIN CERTIFICATE-----", *lines, "-----END CERTIFICATE-----"]
    return "\n".join([*wrapped, ""])
