"""What a customer brings: finding the push certificate in any file, or saying what the file is.

Pure, and tolerant: people bring DER, PKCS#7, files with CRLF or a BOM, with the chain, with the
key pasted in (FACTS.md). Whether the certificate is the right one is for
``check_push_certificate``.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from cryptography import x509

from lifecycle.errors import Finding, Refused, Severity, refuse
from lifecycle.pki.certificates import certificate_name, extension, parse_certificates
from lifecycle.pki.der import element_length
from lifecycle.pki.kinds import FileKind, kind_of
from lifecycle.pki.pem import pem_blocks
from lifecycle.pki.push_certificate import DOWNLOAD, PORTAL, PushCertificate, damaged
from lifecycle.pki.signing_certificate import NAME_PREFIX

MAX_UPLOAD_BYTES = 1024 * 1024
_DER_SEQUENCE = b"\x30\x82"


@dataclass(frozen=True)
class Upload:
    """What a customer's file holds.

    Attributes:
        certificate: the push certificate.
        others: the CA certificates that came along.
        pasted_key: a private key found in the file, as PEM; never shown, never stored.
        findings: notes about the file.
    """

    certificate: PushCertificate
    others: tuple[x509.Certificate, ...] = ()
    pasted_key: bytes | None = field(default=None, repr=False)
    findings: tuple[Finding, ...] = ()


def read_upload(data: bytes) -> Upload:
    """Finds the push certificate in any file that a customer may bring.

    Takes PEM (with CRLF, a BOM, UTF-16, leading text), DER, PKCS#7 in PEM or DER, with the
    chain, with a private key pasted in.

    Raises:
        Refused: with what the file is instead, and what to do.
    """
    if len(data) > MAX_UPLOAD_BYTES:
        raise refuse(
            "file_too_large",
            f"The file has {len(data) / 2**20:.0f} MiB; a push certificate has a few KiB.",
            DOWNLOAD,
        )
    kind = kind_of(data)
    if kind is FileKind.REQUEST:
        raise _instead(kind, None)  # a property list has the signer's chain in it, as PEM
    try:
        blocks = pem_blocks(data)
        keys = [block for block in blocks if block.label.endswith("PRIVATE KEY")]
        certificates = parse_certificates(data)
    except Refused as refused:
        if kind is FileKind.BINARY and data.startswith(_DER_SEQUENCE):
            raise damaged() from None
        raise _instead(kind, refused) from None
    if not blocks:
        _require_nothing_after(data)
    upload = _sorted_out(certificates)
    if not keys:
        return upload
    note = Finding(
        "key_pasted",
        "The file also contains a private key, which was not kept.",
        "Delete that file, and renew with a new key if anybody else may have seen it.",
        Severity.NOTE,
    )
    return Upload(upload.certificate, upload.others, keys[0].text, (note,))


def _sorted_out(certificates: tuple[x509.Certificate, ...]) -> Upload:
    unique = tuple(dict.fromkeys(certificates))
    leaves = [c for c in unique if not _is_ca(c)]
    if not leaves:
        raise refuse(
            "ca_certificate",
            f"The file holds only the CA certificate “{certificate_name(unique[0])}”.",
            "Upload the push certificate itself, the file named MDM_….pem from the portal.",
        )
    if len(leaves) > 1:
        names = " and ".join(f"“{certificate_name(c)}”" for c in leaves[:2])
        raise refuse(
            "several_certificates",
            f"The file holds {len(leaves)} certificates that could be meant: {names}.",
            "Upload one file with only the new push certificate.",
        )
    leaf = leaves[0]
    if certificate_name(leaf).startswith(NAME_PREFIX):
        raise refuse(
            "signing_certificate",
            f"This is the MDM signing certificate “{certificate_name(leaf)}”, not a push"
            " certificate.",
            f"Upload the certificate that {PORTAL} issued for the request.",
        )
    return Upload(PushCertificate.from_certificate(leaf), tuple(c for c in unique if c is not leaf))


def _is_ca(certificate: x509.Certificate) -> bool:
    constraints = extension(certificate, x509.BasicConstraints)
    return constraints is not None and constraints.ca


def _require_nothing_after(data: bytes) -> None:
    length = element_length(data)
    if length is not None and data[length:].strip(b"\0\r\n\t "):
        raise refuse(
            "trailing_bytes", "Something else follows the certificate in the file.", DOWNLOAD
        )


def _instead(kind: FileKind, refused: Refused | None) -> Refused:
    """The refusal for a file without a readable certificate, by what it seems to be."""
    code, remedy = {
        FileKind.EMPTY: ("file_empty", DOWNLOAD),
        FileKind.HTML: (
            "file_is_web_page",
            "Sign in to the portal again and use its Download button, not “Save page”.",
        ),
        FileKind.CSR: (
            "file_is_csr",
            "The CSR has to be signed and taken to the portal first; upload what the portal gives.",
        ),
        FileKind.REQUEST: (
            "file_is_request",
            f"Take this file to {PORTAL}, and upload here what the portal gives for it.",
        ),
        FileKind.PRIVATE_KEY: (
            "file_is_private_key",
            "Keep that key to yourself and upload the certificate, the file named MDM_….pem.",
        ),
        FileKind.PUBLIC_KEY: ("file_is_public_key", DOWNLOAD),
        FileKind.PKCS12: (
            "file_is_pkcs12",
            "Upload the certificate as the portal gave it (PEM), without a key.",
        ),
        FileKind.PKCS7: ("pkcs7_without_certificate", DOWNLOAD),
        FileKind.CERTIFICATE: ("certificate_damaged", DOWNLOAD),
    }.get(kind, ("file_unknown", DOWNLOAD))
    if kind is FileKind.CERTIFICATE and refused is not None:
        return refused
    return refuse(code, f"The file is {kind}, not a push certificate.", remedy)
