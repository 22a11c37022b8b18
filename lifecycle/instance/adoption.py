"""Finds the push certificate and its key in what a customer brings from elsewhere.

A pair of PEM files, a PKCS#12 file, or a whole folder such as ``mdmctl``'s ``mdm-certificates/``,
where the request, the vendor's own key and last year's certificate lie as well. What belongs
together is told by the public key, never by a file's name.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

from lifecycle.errors import Finding, Refused, refuse
from lifecycle.pki.fingerprints import Fingerprint, key_fingerprint
from lifecycle.pki.keys import load_pkcs12, load_private_key
from lifecycle.pki.kinds import FileKind, kind_of
from lifecycle.pki.push_certificate import PushCertificate
from lifecycle.pki.upload import Upload, read_upload

_WORTH_TELLING = frozenset(
    {"private_key_encrypted", "passphrase_wrong", "pkcs12_unreadable", "private_key_damaged"}
)


@dataclass(frozen=True)
class FoundPair:
    """A certificate and its key, and the files they were in. The key is not in the ``repr``."""

    key: RSAPrivateKey = field(repr=False)
    upload: Upload
    key_file: str
    certificate_file: str


def find_pair(files: Mapping[str, bytes], passphrase: bytes | None) -> FoundPair:
    """The pair in a set of files; of several for one topic, the one that ends last.

    Args:
        files: content by name; what is neither key nor certificate is passed over.
        passphrase: of the key; None or empty: it has none. A key that it does not open is passed
            over as long as another fits.

    Raises:
        Refused: ``pair_missing`` (with what is wrong with keys that could not be read),
            ``pair_ambiguous`` (pairs for several topics).
    """
    keys: dict[Fingerprint, tuple[str, RSAPrivateKey]] = {}
    uploads: list[tuple[str, Upload]] = []
    troubles: list[Finding] = []
    for name, data in files.items():
        try:
            found_key, upload = _contents(data, passphrase)
        except Refused as refused:
            troubles += [
                Finding(f.code, f"{name}: {f.message}", f.remedy)
                for f in refused.findings
                if f.code in _WORTH_TELLING
            ]
            found_key, upload = None, _certificate(data)
        if found_key is not None:
            keys.setdefault(key_fingerprint(found_key.public_key()), (name, found_key))
        if upload is not None:
            uploads.append((name, upload))
    pairs = [
        FoundPair(found[1], upload, found[0], name)
        for name, upload in uploads
        if (found := keys.get(upload.certificate.key_fingerprint)) is not None
    ]
    if not pairs:
        raise _missing(len(keys), [upload for _, upload in uploads], troubles)
    topics = sorted({str(pair.upload.certificate.topic) for pair in pairs})
    if len(topics) > 1:
        raise refuse(
            "pair_ambiguous",
            f"There are pairs for {len(topics)} topics: {' and '.join(topics[:2])}.",
            "Name the certificate and the key that are in use with --certificate and --key.",
        )
    return max(pairs, key=lambda pair: pair.upload.certificate.not_after)


def _contents(data: bytes, passphrase: bytes | None) -> tuple[RSAPrivateKey | None, Upload | None]:
    kind = kind_of(data)
    if kind is FileKind.PKCS12:
        key, leaf, others = load_pkcs12(data, passphrase)
        return key, Upload(PushCertificate.from_certificate(leaf), others)
    # A key and a certificate may be in one file.
    alone = load_private_key(data, passphrase) if kind is FileKind.PRIVATE_KEY else None
    return alone, _certificate(data)


def _certificate(data: bytes) -> Upload | None:
    try:
        found = read_upload(data)
    except Refused:
        return None
    # That a key lies beside it is no news to who brings both.
    return Upload(found.certificate, found.others)


def _missing(keys: int, uploads: list[Upload], troubles: list[Finding]) -> Refused:
    if not uploads:
        what = "There is no push certificate among the files"
    elif not keys:
        what = "There is no private key among the files"
    else:
        serials = ", ".join(upload.certificate.serial for upload in uploads[:3])
        what = f"None of the private keys belongs to the certificate with serial {serials}"
    return Refused(
        (
            Finding(
                "pair_missing",
                f"{what}, so there is no pair to adopt.",
                "Find the key that was made with the CSR of the certificate in use.",
            ),
            *troubles,
        )
    )
