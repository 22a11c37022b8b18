"""What a file is, by a first look: enough to tell a person which file they took by mistake."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable
from enum import StrEnum

from cryptography import x509

from lifecycle.pki.certificates import CERTIFICATE_LABELS, PKCS7_LABELS, UNREADABLE
from lifecycle.pki.der import element_length
from lifecycle.pki.pem import BEGIN_MARK, plain_text

CSR_LABELS = frozenset({"CERTIFICATE REQUEST", "NEW CERTIFICATE REQUEST"})

_LOOK_BYTES = 64 * 1024
_XML_IN_BASE64 = base64.b64encode(b"<?xml ")[:7]
PKCS5_OID = bytes.fromhex("06092a864886f70d0105")  # of an encrypted private key
_PKCS7_OID = bytes.fromhex("06092a864886f70d0107")


class FileKind(StrEnum):
    """What a file seems to be; the value reads well in a sentence."""

    EMPTY = "an empty file"
    HTML = "a web page"
    CSR = "a CSR"
    CERTIFICATE = "a certificate"
    PRIVATE_KEY = "a private key"
    PUBLIC_KEY = "a public key"
    REQUEST = "a push certificate request"
    PROPERTY_LIST = "a property list"
    PKCS12 = "a PKCS#12 file"
    PKCS7 = "a PKCS#7 file"
    BINARY = "binary data of an unknown kind"
    TEXT = "text of an unknown kind"


def kind_of(data: bytes) -> FileKind:
    """What ``data`` seems to be, judged by its labels and first bytes; never raises.

    A private key anywhere in a PEM file makes it ``PRIVATE_KEY``: that is what matters about it.
    """
    text = plain_text(data[:_LOOK_BYTES])
    stripped = text.strip()
    if not stripped.strip(b"\0"):
        return FileKind.BINARY if stripped else FileKind.EMPTY
    if element_length(text) is not None:
        return _der_kind(data)
    is_xml = stripped.startswith(b"<")  # a request's property list has PEM blocks in it
    if not is_xml and BEGIN_MARK.search(text) is not None:
        return _pem_kind(text)
    return _text_kind(stripped)


def _pem_kind(text: bytes) -> FileKind:
    labels = {mark[1].decode("ascii") for mark in BEGIN_MARK.finditer(text)}
    if any(label.endswith("PRIVATE KEY") for label in labels):
        return FileKind.PRIVATE_KEY
    if labels & CSR_LABELS:
        return FileKind.CSR
    if labels & CERTIFICATE_LABELS:
        return FileKind.CERTIFICATE
    if labels & PKCS7_LABELS:
        return FileKind.PKCS7
    if any(label.endswith("PUBLIC KEY") for label in labels):
        return FileKind.PUBLIC_KEY
    return FileKind.TEXT


def _text_kind(stripped: bytes) -> FileKind:
    if stripped.startswith(_XML_IN_BASE64):
        decoded = _start_of_base64(stripped)
        return FileKind.REQUEST if b"PushCert" in decoded else FileKind.PROPERTY_LIST
    head = stripped[:2048].lower()
    if head.startswith((b"<!doctype html", b"<html")) or b"<html" in head:
        return FileKind.HTML
    if b"<plist" in head or head.startswith(b"bplist00"):
        return FileKind.REQUEST if b"PushCert" in stripped else FileKind.PROPERTY_LIST
    if b"\0" in stripped or any(byte < 9 for byte in stripped[:2048]):
        return FileKind.BINARY
    return FileKind.TEXT


def _start_of_base64(stripped: bytes) -> bytes:
    body = b"".join(stripped.split())
    try:
        return base64.b64decode(body[: len(body) // 4 * 4])
    except binascii.Error:
        return b""


def _der_kind(data: bytes) -> FileKind:
    header = 2 if data[1] < 0x80 else 2 + (data[1] & 0x7F)
    content = data[header : header + 16]
    if content[2:].startswith(PKCS5_OID) or content.startswith(
        (b"\x02\x01\x00\x30", b"\x02\x01\x01\x04", b"\x02\x01\x00\x02\x82")
    ):
        return FileKind.PRIVATE_KEY
    if content.startswith(b"\x02\x01\x03\x30"):
        return FileKind.PKCS12
    if content.startswith(_PKCS7_OID):
        return FileKind.PKCS7
    length = element_length(data) or 0
    if _loads(x509.load_der_x509_certificate, data[:length]):
        return FileKind.CERTIFICATE
    if _loads(x509.load_der_x509_csr, data[:length]):
        return FileKind.CSR
    return FileKind.BINARY


def _loads(load: Callable[[bytes], object], der: bytes) -> bool:
    try:
        load(der)
    except UNREADABLE:
        return False
    return True
