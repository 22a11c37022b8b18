"""Chains: Apple's own, and every way in which a pile of certificates can mislead."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Protocol

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, pkcs7
from cryptography.x509.oid import NameOID

from lifecycle.errors import Finding, Refused
from lifecycle.pki import chain as chain_module
from lifecycle.pki.certificates import is_self_signed, issued_by
from lifecycle.pki.chain import (
    Chain,
    TrustStore,
    certificate_name,
    complete_chain,
    parse_certificates,
)
from lifecycle.pki.fingerprints import fingerprint
from lifecycle.pki.pem import lines_obey_rule

OpenSsl = Callable[..., bytes]


class Issued(Protocol):
    """What the fixture ``issuing`` returns: a certificate and its key."""

    @property
    def certificate(self) -> x509.Certificate: ...
    @property
    def key(self) -> rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey: ...


Issue = Callable[..., Issued]

BUNDLED = Path(chain_module.__file__).with_name("apple_ca")
NOW = datetime(2026, 11, 24, tzinfo=UTC)
WWDR = "Apple Worldwide Developer Relations Certification Authority"

# From MANIFEST.md beside Apple's certificates, as Apple publishes them.
MANIFEST = {
    "AppleIncRootCertificate.cer": (
        "b0b1730ecbc7ff4505142c49f1295e6eda6bcaed7e2c68c5be91b5a11001f024"
    ),
    "AppleRootCA-G2.cer": "c2b9b042dd57830e7d117dac55ac8ae19407d38e41d88f3215bc3a890444a050",
    "AppleRootCA-G3.cer": "63343abfb89a6a03ebb57e9b3f5fa7be7c4f5c756f3017b3a8c488c3653e9179",
    "AppleWWDRCA.cer": "ce057691d730f89ca25e916f7335f4c8a15713dcd273a658c024023f8eb809c2",
    "AppleWWDRCAG3.cer": "dcf21878c77f4198e4b4614f03d696d89c66c66008d4244e1b99161aac91601f",
    "AppleAAI2CA.cer": "d3496f4b73cd67aab9f2fcb1d5aa41f8dc457769c455c792b70ddb19e92023d6",
    "AppleAAICA.cer": "e6a78796e0c7a3e5437835ca16785b485aa9ddc45ccd0a65aa8933e3c3d08971",
    "AppleApplicationIntegrationCA5G1.cer": (
        "c0d8efbea821079d1b8a98e1198bfcc669331fa7a9c14f09b969f0af08ce4a43"
    ),
    "AppleApplicationIntegrationCA7G1.cer": (
        "928265664dcb4f3e2ec82d93598f0782615e541d975e2254a27d0aa98724502e"
    ),
}

# file, how it is called, its root, whether it has expired by NOW
GENERATIONS = [
    ("AppleWWDRCA.cer", WWDR, "Apple Root CA", "2023-02-07"),
    ("AppleWWDRCAG2.cer", "Apple Worldwide Developer Relations CA - G2", "Apple Root CA - G3", ""),
    ("AppleWWDRCAG3.cer", f"{WWDR} (G3)", "Apple Root CA", ""),
    ("AppleWWDRCAG4.cer", f"{WWDR} (G4)", "Apple Root CA", ""),
    ("AppleWWDRCAG5.cer", f"{WWDR} (G5)", "Apple Root CA", ""),
    ("AppleWWDRCAG6.cer", f"{WWDR} (G6)", "Apple Root CA - G3", ""),
    ("AppleWWDRCAG7.cer", f"{WWDR} (G7)", "Apple Root CA", "2023-11-17"),
    ("AppleWWDRCAG8.cer", f"{WWDR} (G8)", "Apple Root CA", "2025-01-24"),
]


def bundled(name: str) -> x509.Certificate:
    return x509.load_der_x509_certificate((BUNDLED / name).read_bytes())


def codes(findings: tuple[Finding, ...]) -> tuple[str, ...]:
    return tuple(f.code for f in findings)


class TestApple:
    def test_the_bundled_files_are_those_that_apple_publishes(self) -> None:
        for name, sha256 in MANIFEST.items():
            assert fingerprint((BUNDLED / name).read_bytes()) == sha256, name

    def test_the_bundle_is_whole(self) -> None:
        store = TrustStore.apple()
        assert {certificate_name(c) for c in store.roots} == {
            "Apple Root CA",
            "Apple Root CA - G2",
            "Apple Root CA - G3",
        }
        assert len(store.intermediates) == 13
        assert {fingerprint(f.read_bytes()) for f in BUNDLED.glob("*.cer")} == {
            fingerprint(c.public_bytes(Encoding.DER)) for c in (*store.roots, *store.intermediates)
        }

    @pytest.mark.parametrize(("file", "name", "root", "expired"), GENERATIONS)
    def test_the_path_of_each_wwdr_generation_is_found(
        self, file: str, name: str, root: str, expired: str
    ) -> None:
        chain, findings = complete_chain(bundled(file), TrustStore.apple(), at=NOW)
        assert chain is not None
        assert [certificate_name(c) for c in chain.certificates] == [name, root]
        if expired:
            assert codes(findings) == ("chain_certificate_expired",)
            assert f"“{name}” expired on {expired}" in findings[0].message
        else:
            assert findings == ()

    @pytest.mark.parametrize("file", [generation[0] for generation in GENERATIONS])
    def test_openssl_accepts_each_path(self, file: str, tmp_path: Path, openssl: OpenSsl) -> None:
        chain, _ = complete_chain(bundled(file), TrustStore.apple(), at=NOW)
        assert chain is not None
        leaf, root = tmp_path / "leaf.pem", tmp_path / "root.pem"
        leaf.write_bytes(chain.leaf.public_bytes(Encoding.PEM))
        root.write_bytes(chain.root.public_bytes(Encoding.PEM))
        verify = ("verify", "-no_check_time", "-check_ss_sig", "-auth_level", "0")
        openssl(*verify, "-CAfile", root, leaf)

    def test_every_intermediate_reaches_a_root(self) -> None:
        store = TrustStore.apple()
        for certificate in store.intermediates:
            chain, _ = complete_chain(certificate, store, at=NOW)
            assert chain is not None, certificate_name(certificate)

    def test_the_first_wwdr_and_g3_are_told_apart_by_their_keys(self) -> None:
        first, third = bundled("AppleWWDRCA.cer"), bundled("AppleWWDRCAG3.cer")
        common = NameOID.COMMON_NAME
        assert first.subject.get_attributes_for_oid(common) == (
            third.subject.get_attributes_for_oid(common)
        )
        assert certificate_name(first) != certificate_name(third)

    def test_a_published_file_with_a_pem_tail_is_read(self) -> None:
        der = (BUNDLED / "AppleAAICA.cer").read_bytes()
        tail = b"CAYYwEAYK\nKoZIhvdjZAYCAwQCBQAw\n-----END CERTIFICATE-----\n"
        assert parse_certificates(der + tail) == (bundled("AppleAAICA.cer"),)


class TestPaths:
    def test_a_shuffled_pile_gives_the_ordered_path(self, issuing: Issue) -> None:
        root = issuing("Lab Root")
        middle = issuing("Lab WWDR", root, unit="G3")
        leaf = issuing("MDM Vendor: Lab", middle, ca=False)
        noise = issuing("Lab WWDR", root, unit="G4")
        pile = [noise.certificate, leaf.certificate, root.certificate, middle.certificate]
        expected = (leaf.certificate, middle.certificate, root.certificate)
        for order in (pile, pile[::-1]):
            chain, findings = complete_chain(
                leaf.certificate, TrustStore.of([root.certificate]), order, at=NOW
            )
            assert chain == Chain(expected)
            assert findings == ()
        assert chain is not None
        assert (chain.leaf, chain.root, chain.issuers) == (expected[0], expected[2], expected[1:])

    def test_rsa_and_ec_issuers_mix(self, issuing: Issue, vendor_key: rsa.RSAPrivateKey) -> None:
        root = issuing("EC Root", key=ec.generate_private_key(ec.SECP384R1()))
        middle = issuing("RSA Middle", root, key=vendor_key)
        leaf = issuing("Leaf", middle, ca=False)
        store = TrustStore.of([middle.certificate, root.certificate])
        chain, findings = complete_chain(leaf.certificate, store, at=NOW)
        assert chain is not None
        assert len(chain.certificates) == 3
        assert findings == ()

    def test_the_right_one_of_two_issuers_with_the_same_name_is_taken(self, issuing: Issue) -> None:
        root = issuing("Root")
        wrong, right = issuing("WWDR", root), issuing("WWDR", root)
        for identifiers in (True, False):
            leaf = issuing("Leaf", right, ca=False, key_identifiers=identifiers)
            store = TrustStore.of([root.certificate, wrong.certificate, right.certificate])
            chain, _ = complete_chain(leaf.certificate, store, at=NOW)
            assert chain is not None
            assert chain.certificates[1] == right.certificate

    def test_issuers_without_key_identifiers_are_found_by_signature(self, issuing: Issue) -> None:
        root = issuing("Root", key_identifiers=False)
        middle = issuing("Middle", root, key_identifiers=False)
        leaf = issuing("Leaf", middle, ca=False)
        store = TrustStore.of([root.certificate, middle.certificate])
        chain, findings = complete_chain(leaf.certificate, store, at=NOW)
        assert chain is not None
        assert findings == ()

    def test_a_valid_path_is_preferred_to_an_expired_one(self, issuing: Issue) -> None:
        root = issuing("Root")
        key = ec.generate_private_key(ec.SECP256R1())
        old = issuing("WWDR", root, key=key, last=NOW - timedelta(days=1))
        short = issuing("WWDR", root, key=key, last=NOW + timedelta(days=9))
        new = issuing("WWDR", root, key=key, last=NOW + timedelta(days=99))
        leaf = issuing("Leaf", new, ca=False)
        for pile in ([old, short, new], [new, old, short], [short, new, old]):
            store = TrustStore.of([root.certificate, *(c.certificate for c in pile)])
            chain, findings = complete_chain(leaf.certificate, store, at=NOW)
            assert chain is not None
            assert chain.certificates[1] == new.certificate
            assert findings == ()
            assert chain.expires_first == new.certificate
            assert chain.not_after == NOW + timedelta(days=99)

    def test_a_path_that_is_valid_now_is_preferred_to_one_that_lives_longer_but_later(
        self, issuing: Issue
    ) -> None:
        root = issuing("Root")
        key = ec.generate_private_key(ec.SECP256R1())
        later = issuing(
            "WWDR", root, key=key, first=NOW + timedelta(seconds=1), last=NOW + timedelta(days=99)
        )
        now = issuing("WWDR", root, key=key, first=NOW, last=NOW + timedelta(days=9))
        leaf = issuing("Leaf", now, ca=False)
        for pile in ([later, now], [now, later]):
            store = TrustStore.of([root.certificate, *(c.certificate for c in pile)])
            chain, findings = complete_chain(leaf.certificate, store, at=NOW)
            assert chain is not None
            assert chain.certificates[1] == now.certificate
            assert findings == ()

    def test_of_cross_signed_paths_the_trusted_one_is_taken(self, issuing: Issue) -> None:
        trusted, foreign = issuing("Trusted Root"), issuing("Foreign Root")
        key = ec.generate_private_key(ec.SECP256R1())
        by_foreign = issuing("Middle", foreign, key=key)
        by_trusted = issuing("Middle", trusted, key=key)
        leaf = issuing("Leaf", by_trusted, ca=False)
        pile = [foreign.certificate, by_foreign.certificate, by_trusted.certificate]
        chain, _ = complete_chain(
            leaf.certificate, TrustStore.of([trusted.certificate]), pile, at=NOW
        )
        assert chain is not None
        assert chain.root == trusted.certificate

    def test_a_root_is_its_own_chain(self, issuing: Issue) -> None:
        root = issuing("Root").certificate
        chain, findings = complete_chain(root, TrustStore.of([root]), at=NOW)
        assert chain == Chain((root,))
        assert findings == ()


class TestFindings:
    def test_a_missing_issuer_is_named_with_its_key(self, issuing: Issue) -> None:
        root = issuing("Root")
        middle = issuing("Lab WWDR", root, unit="G3")
        leaf = issuing("MDM Vendor: Lab", middle, ca=False)
        chain, findings = complete_chain(
            leaf.certificate, TrustStore.of([root.certificate]), at=NOW
        )
        key = x509.SubjectKeyIdentifier.from_public_key(middle.key.public_key()).digest
        assert chain is None
        assert codes(findings) == ("chain_certificate_missing",)
        assert "“MDM Vendor: Lab”" in findings[0].message
        assert "“Lab WWDR (G3)”" in findings[0].message
        assert key.hex(":").upper() in findings[0].message

    def test_the_missing_one_high_up_is_named_not_the_leaf(self, issuing: Issue) -> None:
        root = issuing("Root")
        upper = issuing("Upper", root)
        lower = issuing("Lower", upper)
        leaf = issuing("Leaf", lower, ca=False)
        _, findings = complete_chain(
            leaf.certificate, TrustStore.of([root.certificate]), [lower.certificate], at=NOW
        )
        assert codes(findings) == ("chain_certificate_missing",)
        assert "The issuer of “Lower” is missing: “Upper”" in findings[0].message

    def test_of_two_dead_ends_the_one_nearer_to_a_root_is_named(self, issuing: Issue) -> None:
        gone, far_gone = issuing("Gone"), issuing("Far Gone")
        upper = issuing("Upper", far_gone)
        key = ec.generate_private_key(ec.SECP256R1())
        short, long = issuing("Lower", gone, key=key), issuing("Lower", upper, key=key)
        leaf = issuing("Leaf", long, ca=False).certificate
        pile = [short.certificate, long.certificate, upper.certificate]
        for order in (pile, pile[::-1]):
            _, findings = complete_chain(leaf, TrustStore.apple(), order, at=NOW)
            assert codes(findings) == ("chain_certificate_missing",)
            assert "The issuer of “Upper” is missing: “Far Gone”" in findings[0].message

    def test_another_generation_of_the_issuer_is_not_mistaken_for_it(self, issuing: Issue) -> None:
        root = issuing("Root")
        first, third = issuing("WWDR", root), issuing("WWDR", root)
        leaf = issuing("Leaf", third, ca=False)
        store = TrustStore.of([root.certificate, first.certificate])
        chain, findings = complete_chain(leaf.certificate, store, at=NOW)
        assert chain is None
        assert codes(findings) == ("chain_certificate_missing",)
        assert "with another key" in findings[0].message

    def test_only_an_expired_path_is_returned_and_every_expired_one_named(
        self, issuing: Issue
    ) -> None:
        root = issuing("Root")
        middle = issuing("Middle", root, last=NOW - timedelta(days=2))
        leaf = issuing("Leaf", middle, ca=False, last=NOW - timedelta(days=1))
        store = TrustStore.of([root.certificate, middle.certificate])
        chain, findings = complete_chain(leaf.certificate, store, at=NOW)
        assert chain is not None
        assert codes(findings) == ("chain_certificate_expired",) * 2
        assert ["Leaf" in findings[0].message, "Middle" in findings[1].message] == [True, True]
        _, of_issuers = complete_chain(leaf.certificate, store, at=NOW, leaf_dates=False)
        assert of_issuers == findings[1:]

    def test_dates_count_to_the_second(self, issuing: Issue) -> None:
        root = issuing("Root")
        leaf = issuing("Leaf", root, ca=False, first=NOW, last=NOW + timedelta(days=1))
        store = TrustStore.of([root.certificate])
        second = timedelta(seconds=1)
        expected = {
            NOW - second: ("chain_certificate_not_yet_valid",),
            NOW: (),
            NOW + timedelta(days=1): (),
            NOW + timedelta(days=1) + second: ("chain_certificate_expired",),
        }
        for at, found in expected.items():
            assert codes(complete_chain(leaf.certificate, store, at=at)[1]) == found

    def test_a_root_in_the_pile_is_not_trusted_for_being_there(self, issuing: Issue) -> None:
        root = issuing("Forged Root")
        leaf = issuing("Leaf", root, ca=False)
        chain, findings = complete_chain(
            leaf.certificate, TrustStore.apple(), [root.certificate], at=NOW
        )
        assert chain is None
        assert codes(findings) == ("chain_root_untrusted",)
        assert "“Forged Root”" in findings[0].message

    def test_a_self_signed_leaf_is_not_trusted(self, issuing: Issue) -> None:
        leaf = issuing("Self", ca=False).certificate
        assert codes(complete_chain(leaf, TrustStore.apple(), at=NOW)[1]) == (
            "chain_root_untrusted",
        )

    def test_a_forged_issuer_with_the_right_name_and_key_identifier_is_no_issuer(
        self, issuing: Issue
    ) -> None:
        root = issuing("Root")
        leaf = issuing("Leaf", root, ca=False).certificate
        forger = ec.generate_private_key(ec.SECP256R1())
        forged = (
            x509.CertificateBuilder()
            .subject_name(root.certificate.subject)
            .issuer_name(root.certificate.subject)
            .public_key(forger.public_key())
            .serial_number(1)
            .not_valid_before(root.certificate.not_valid_before_utc)
            .not_valid_after(root.certificate.not_valid_after_utc)
            .add_extension(x509.BasicConstraints(True, None), critical=True)
            .add_extension(
                x509.SubjectKeyIdentifier.from_public_key(root.key.public_key()), critical=False
            )
            .sign(forger, hashes.SHA256())
        )
        chain, findings = complete_chain(leaf, TrustStore.of([forged]), at=NOW)
        assert chain is None
        assert codes(findings) == ("chain_signature_invalid",)

    def test_a_signature_that_was_altered_does_not_hold_rsa_or_ecdsa(
        self, vendor_chain: Chain, vector_trust: TrustStore, issuing: Issue
    ) -> None:
        root = issuing("EC Root")
        elliptic = issuing("Leaf", root, ca=False).certificate
        stores = {vendor_chain.leaf: vector_trust, elliptic: TrustStore.of([root.certificate])}
        for certificate, store in stores.items():
            assert complete_chain(certificate, store, at=NOW)[0] is not None
            der = bytearray(certificate.public_bytes(Encoding.DER))
            der[-1] ^= 1
            altered = x509.load_der_x509_certificate(bytes(der))
            chain, findings = complete_chain(altered, store, at=NOW)
            assert chain is None
            assert codes(findings) == ("chain_signature_invalid",)

    def test_an_issuer_whose_key_identifier_is_not_the_one_named_is_no_issuer(
        self, issuing: Issue
    ) -> None:
        root = issuing("Root")
        leaf = issuing("Leaf", root, ca=False).certificate
        renamed = (
            x509.CertificateBuilder()
            .subject_name(root.certificate.subject)
            .issuer_name(root.certificate.subject)
            .public_key(root.key.public_key())
            .serial_number(1)
            .not_valid_before(root.certificate.not_valid_before_utc)
            .not_valid_after(root.certificate.not_valid_after_utc)
            .add_extension(x509.BasicConstraints(True, None), critical=True)
            .add_extension(x509.SubjectKeyIdentifier(b"another key"), critical=False)
            .sign(root.key, hashes.SHA256())
        )
        assert issued_by(leaf, root.certificate)
        assert not issued_by(leaf, renamed)

    def test_a_ca_that_may_not_sign_certificates_may_not_issue(self, issuing: Issue) -> None:
        for may_sign in (True, False):
            root = issuing("Root", key_cert_sign=may_sign)
            leaf = issuing("Leaf", root, ca=False).certificate
            chain, findings = complete_chain(leaf, TrustStore.of([root.certificate]), at=NOW)
            assert (chain is not None) is may_sign
            assert codes(findings) == (() if may_sign else ("chain_issuer_not_ca",))

    def test_an_end_certificate_may_not_issue(self, issuing: Issue) -> None:
        root = issuing("Root")
        customer = issuing("APSP:customer", root, ca=False)
        leaf = issuing("Leaf", customer, ca=False)
        store = TrustStore.of([root.certificate])
        chain, findings = complete_chain(leaf.certificate, store, [customer.certificate], at=NOW)
        assert chain is None
        assert codes(findings) == ("chain_issuer_not_ca",)
        assert "“APSP:customer”" in findings[0].message

    def test_a_path_length_is_kept(self, issuing: Issue) -> None:
        root = issuing("Root", path_length=0)
        middle = issuing("Middle", root)
        below_root = issuing("Below Root", root, ca=False)
        below_middle = issuing("Below Middle", middle, ca=False)
        store = TrustStore.of([root.certificate, middle.certificate])
        assert complete_chain(below_root.certificate, store, at=NOW)[0] is not None
        chain, findings = complete_chain(below_middle.certificate, store, at=NOW)
        assert chain is None
        assert codes(findings) == ("chain_issuer_not_ca",)

    def test_sha1_counts_only_for_certificates_from_the_store(
        self,
        vectors: Path,
        vector: Callable[[str], bytes],
        vector_trust: TrustStore,
        vector_time: datetime,
        openssl: OpenSsl,
    ) -> None:
        sign = ("x509", "-req", "-in", vectors / "customer-csr.pem", "-days", "9999")
        by = ("-CA", vectors / "wwdr.pem", "-CAkey", vectors / "wwdr.key", "-set_serial", "7")
        (weak,) = parse_certificates(openssl(*sign, *by, "-sha1"))
        (strong,) = parse_certificates(openssl(*sign, *by, "-sha256"))
        assert complete_chain(strong, vector_trust, at=vector_time)[0] is not None
        chain, findings = complete_chain(weak, vector_trust, at=vector_time)
        assert chain is None
        assert codes(findings) == ("chain_signature_weak",)
        known = vector_trust.with_extra([weak])
        assert complete_chain(weak, known, at=vector_time)[0] is not None
        (wwdr,) = parse_certificates(vector("wwdr.pem"))
        assert not issued_by(weak, wwdr)
        assert issued_by(weak, wwdr, allow_sha1=True)

    def test_md5_never_counts(self, vectors: Path, openssl: OpenSsl) -> None:
        made = openssl(
            *("req", "-x509", "-key", vectors / "root.key", "-md5", "-subj", "/CN=Old Root")
        )
        (old,) = parse_certificates(made)
        assert not is_self_signed(old)
        assert TrustStore.of([old]).roots == ()

    def test_a_pile_of_certificates_that_issue_each_other_ends(self, issuing: Issue) -> None:
        key = ec.generate_private_key(ec.SECP256R1())
        loop = issuing("Loop", key=key)
        pile = [issuing("Loop", loop, key=key).certificate for _ in range(30)]
        leaf = issuing("Leaf", loop, ca=False)
        chain, findings = complete_chain(leaf.certificate, TrustStore.apple(), pile, at=NOW)
        assert chain is None
        assert len(findings) == 1


class TestStores:
    def test_of_sorts_roots_from_intermediates_and_drops_doubles(self, issuing: Issue) -> None:
        root = issuing("Root")
        middle = issuing("Middle", root)
        store = TrustStore.of([middle.certificate, root.certificate, middle.certificate])
        assert store == TrustStore((root.certificate,), (middle.certificate,))

    def test_with_extra_adds_to_a_store_and_leaves_the_first_alone(self, issuing: Issue) -> None:
        root = issuing("Own Root")
        leaf = issuing("Leaf", root, ca=False)
        apple = TrustStore.apple()
        wider = apple.with_extra([root.certificate])
        assert set(wider.roots) == {*apple.roots, root.certificate}
        assert complete_chain(leaf.certificate, wider, at=NOW)[0] is not None
        assert complete_chain(leaf.certificate, apple, at=NOW)[0] is None


class TestFiles:
    def test_the_pem_of_a_chain_is_the_vector_byte_for_byte(
        self, vendor_chain: Chain, vector: Callable[[str], bytes]
    ) -> None:
        assert vendor_chain.pem().encode() == vector("chain.pem")
        assert lines_obey_rule(vendor_chain.pem())

    def test_openssl_verifies_the_chain_of_the_vectors(
        self, vectors: Path, vendor_chain: Chain, tmp_path: Path, openssl: OpenSsl
    ) -> None:
        written = tmp_path / "chain.pem"
        written.write_text(vendor_chain.pem())
        trust = ("-CAfile", vectors / "root.pem", "-untrusted", written)
        assert openssl("verify", "-no_check_time", *trust, written).endswith(b": OK\n")

    def test_certificates_are_read_in_every_encoding(self, vector: Callable[[str], bytes]) -> None:
        pem = vector("chain.pem")
        certificates = parse_certificates(pem)
        assert [certificate_name(c) for c in certificates] == [
            "MDM Vendor: Example MDM",
            "Example Worldwide Developer Relations Certification Authority (G3)",
            "Example Root CA",
        ]
        ders = [c.public_bytes(Encoding.DER) for c in certificates]
        assert parse_certificates(ders[0]) == certificates[:1]
        assert parse_certificates(b"".join(ders)) == certificates
        assert parse_certificates(pem.decode().encode("utf-16")) == certificates
        assert parse_certificates(pem.replace(b"\n", b"\r\n")) == certificates
        assert parse_certificates(vector("vendor.key") + pem) == certificates
        for encoding in (Encoding.DER, Encoding.PEM):
            bundle = pkcs7.serialize_certificates(list(certificates), encoding)
            assert set(parse_certificates(bundle)) == set(certificates)

    @pytest.mark.parametrize("data", [b"", b"text", b"\0" * 100, b"-----END X-----"])
    def test_a_file_without_certificates_is_refused(self, data: bytes) -> None:
        with pytest.raises(Refused) as refused:
            parse_certificates(data)
        assert refused.value.codes == ("certificate_missing",)

    def test_a_damaged_certificate_is_refused(self, vector: Callable[[str], bytes]) -> None:
        der = parse_certificates(vector("vendor.pem"))[0].public_bytes(Encoding.DER)
        no_oid = der.replace(b"\x06\x03\x55\x04\x03", b"\x16\x03\x55\x04\x03")
        bit_string_name = der.replace(b"\x55\x04\x03\x0c", b"\x55\x04\x03\x03")
        assert der not in (no_oid, bit_string_name)
        for broken in (der[:-10], no_oid, bit_string_name):
            with pytest.raises(Refused) as refused:
                parse_certificates(broken)
            assert refused.value.codes == ("certificate_damaged",)

    def test_a_certificate_without_a_common_name_is_called_by_its_subject(self) -> None:
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Acme")])
        certificate = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(key.public_key())
            .serial_number(1)
            .not_valid_before(NOW)
            .not_valid_after(NOW + timedelta(days=1))
            .sign(key, hashes.SHA256())
        )
        assert certificate_name(certificate) == "O=Acme"
