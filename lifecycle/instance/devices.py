"""Reads the devices a customer brings: TokenUpdate check-in messages and CSV lists.

A TokenUpdate is the property list (XML or binary) that a device sends to its MDM server; it
carries ``Token``, ``PushMagic``, ``Topic`` and ``UDID`` (FACTS.md). A CSV list has the columns
``udid,token,push_magic`` and, if it likes, ``topic``. Nothing here touches the vault.
"""

from __future__ import annotations

import csv
import io
import plistlib
import struct
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TypeVar
from xml.parsers.expat import ExpatError

from lifecycle.apns.token import DeviceToken, PushMagic
from lifecycle.errors import Finding, Refused, raise_for, refuse
from lifecycle.pki.topic import Topic

MAX_TOKEN_UPDATE_BYTES = 256 * 1024
MAX_CSV_BYTES = 32 * 1024 * 1024
MAX_FINDINGS = 50
"""A list in the wrong form has the same fault in every row; nobody reads thousands."""
_MAX_UDID = 128
_NEEDED = ("udid", "token", "push_magic")
_COLUMNS = (*_NEEDED, "topic")
_BAD_PLIST = (
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    OverflowError,
    RecursionError,
    MemoryError,
    ExpatError,
    struct.error,
)

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Device:
    """A device that can be pushed to. Token and push magic do not show in its ``repr``.

    Attributes:
        udid: the device's UDID, or its enrolment ID where the device gives no UDID; with
            ``:`` and the user's ID behind it for a user channel.
        topic: the topic the token was registered under.
    """

    udid: str
    topic: Topic
    token: DeviceToken
    push_magic: PushMagic


def read_devices(data: bytes, default_topic: Topic | None = None) -> list[Device]:
    """The devices in a file of either form.

    Args:
        data: a TokenUpdate property list or a CSV list.
        default_topic: the topic for CSV rows that name none.

    Raises:
        Refused: as ``read_token_update`` and ``read_device_csv``.
    """
    head = data[:512].lstrip(b"\xef\xbb\xbf \t\r\n")
    if head.startswith((b"bplist", b"<")):
        return read_token_update(data)
    return read_device_csv(data, default_topic)


def read_token_update(data: bytes) -> list[Device]:
    """The device in one TokenUpdate check-in message.

    Raises:
        Refused: ``devices_too_big``, ``token_update_unreadable``, ``token_update_expected``,
            or one ``device_*`` finding for each value that is missing or wrong.
    """
    _require_size(data, MAX_TOKEN_UPDATE_BYTES)
    try:
        message = plistlib.loads(data)
    except _BAD_PLIST:
        raise refuse(
            "token_update_unreadable",
            "The file is not a property list.",
            "Give the TokenUpdate message as the MDM server received it, or a CSV list.",
        ) from None
    kind = message.get("MessageType") if isinstance(message, dict) else None
    if not isinstance(message, dict) or kind != "TokenUpdate":
        what = f"a {kind} message" if isinstance(kind, str) and len(kind) < 40 else "another one"
        raise refuse(
            "token_update_expected",
            f"The property list is not a TokenUpdate message; it is {what}.",
            "Give the check-in message whose MessageType is TokenUpdate.",
        )
    findings: list[Finding] = []
    device = _device_of_message(message, findings)
    raise_for(findings)
    return [] if device is None else [device]


def read_device_csv(data: bytes, default_topic: Topic | None = None) -> list[Device]:
    """The devices of a CSV list; either all of them or a refusal that names every bad row.

    Args:
        data: UTF-8, with or without a byte order mark; the first line names the columns.
        default_topic: the topic for rows that name none.

    Raises:
        Refused: ``devices_too_big``, ``device_list_unreadable``, ``device_columns``,
            ``device_list_empty``, or ``device_*`` findings that begin with the line number;
            ``MAX_FINDINGS`` at the most.
    """
    _require_size(data, MAX_CSV_BYTES)
    findings: list[Finding] = []
    devices: list[Device] = []
    seen: dict[str, int] = {}
    for line, row in _rows(data):
        if row is None:
            findings.append(_too_many_values(line))
            device = None
        else:
            device = device_of_row(row, default_topic, f"Line {line}: ", findings)
        if device is not None:
            first = seen.setdefault(device.udid, line)
            if first != line:
                findings.append(_repeated(line, device.udid, first))
            devices.append(device)
        if len(findings) >= MAX_FINDINGS:
            break
    raise_for(findings[:MAX_FINDINGS])
    if not devices:
        raise refuse(
            "device_list_empty", "The list has no rows.", "Export it again with the devices in it."
        )
    return devices


def _device_of_message(message: Mapping[str, object], findings: list[Finding]) -> Device | None:
    udid = message.get("UDID", message.get("EnrollmentID"))
    user = message.get("UserID", message.get("EnrollmentUserID"))
    if isinstance(udid, str) and isinstance(user, str):
        udid = f"{udid}:{user}"
    raw, magic, topic = message.get("Token"), message.get("PushMagic"), message.get("Topic")
    return _device(
        _udid(udid if isinstance(udid, str) else "", "", findings),
        _collect(lambda: Topic.parse(_text(topic, "Topic")), "", findings),
        _collect(lambda: DeviceToken.from_bytes(_data(raw, "Token")), "", findings),
        _collect(lambda: PushMagic(_text(magic, "PushMagic")), "", findings),
    )


def device_of_row(
    row: Mapping[str, str], default: Topic | None, where: str, findings: list[Finding]
) -> Device | None:
    """The device in a row with ``udid``, ``token``, ``push_magic`` and ``topic``.

    Args:
        row: the values, as text.
        default: the topic if the row has none.
        where: begins each finding.
        findings: gets what is wrong; then there is no device.
    """
    named = row.get("topic", "")
    topic = default if not named else None
    if topic is None:
        topic = _collect(lambda: Topic.parse(_text(named or None, "topic")), where, findings)
    return _device(
        _udid(row["udid"], where, findings),
        topic,
        _collect(lambda: DeviceToken.from_hex(row["token"]), where, findings),
        _collect(lambda: PushMagic(_text(row["push_magic"], "push_magic")), where, findings),
    )


def _device(
    udid: str | None, topic: Topic | None, token: DeviceToken | None, magic: PushMagic | None
) -> Device | None:
    if udid is None or topic is None or token is None or magic is None:
        return None
    return Device(udid, topic, token, magic)


def _collect(make: Callable[[], T], where: str, findings: list[Finding]) -> T | None:
    try:
        return make()
    except Refused as refused:
        findings.extend(
            Finding(f.code, f"{where}{f.message}", f.remedy, f.severity) for f in refused.findings
        )
        return None


def _udid(text: str, where: str, findings: list[Finding]) -> str | None:
    udid = text.strip()
    if 0 < len(udid) <= _MAX_UDID and udid.isprintable():
        return udid
    findings.append(
        Finding(
            "device_udid_missing",
            f"{where}The UDID is missing or not one.",
            "Give the device's UDID as the MDM server knows it.",
        )
    )
    return None


def _text(value: object, name: str) -> str:
    if isinstance(value, str) and value.strip():
        return value.strip()
    raise _missing(name)


def _data(value: object, name: str) -> bytes:
    if isinstance(value, bytes):
        return value
    raise _missing(name)


def _missing(name: str) -> Refused:
    return refuse(
        "device_value_missing",
        f"{name} is missing or of the wrong type.",
        "Take the values from the device's latest TokenUpdate message.",
    )


def _repeated(line: int, udid: str, first: int) -> Finding:
    return Finding(
        "device_repeated",
        f"Line {line}: the UDID {udid} stands on line {first} already.",
        "Leave only the row with the latest token.",
    )


def _too_many_values(line: int) -> Finding:
    return Finding(
        "device_row_too_long",
        f"Line {line}: there are more values than columns.",
        "Put a value with a comma in it into double quotes.",
    )


def _rows(data: bytes) -> Iterator[tuple[int, dict[str, str] | None]]:
    # None stands for a row with more values than columns.
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise _unreadable() from None
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        header = [name.strip().lower() for name in next(reader, [])]
        _require_columns(header)
        for cells in reader:
            if len(cells) > len(header):
                yield reader.line_num, None
            elif any(cell.strip() for cell in cells):
                padded = [*cells, *([""] * (len(header) - len(cells)))]
                yield (
                    reader.line_num,
                    {name: cell.strip() for name, cell in zip(header, padded, strict=True)},
                )
    except csv.Error:
        raise _unreadable() from None


def _require_columns(header: list[str]) -> None:
    unknown = [name for name in header if name not in _COLUMNS]
    missing = [name for name in _NEEDED if name not in header]
    if unknown or missing or len(set(header)) != len(header):
        raise refuse(
            "device_columns",
            "The first line of the list does not name the columns that are needed.",
            f"Begin the file with the line: {','.join(_NEEDED)} (and ,topic if there are several).",
        )


def _unreadable() -> Refused:
    return refuse(
        "device_list_unreadable",
        "The file is neither a TokenUpdate property list nor a CSV list in UTF-8.",
        "Save the list as CSV (UTF-8) with the columns udid,token,push_magic.",
    )


def _require_size(data: bytes, limit: int) -> None:
    if len(data) > limit:
        raise refuse(
            "devices_too_big",
            f"The file has {len(data):,} bytes; at most {limit:,} are read.",
            "Split the list, or check that it is the right file.",
        )
