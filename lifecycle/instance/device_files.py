"""Devices from whatever file a customer has of them.

A TokenUpdate message, a CSV list, events of NanoMDM's webhook, a dump of NanoMDM's database, or the
TokenUpdate messages of its file storage (one folder for each enrolment).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from lifecycle.errors import Finding, raise_for, refuse
from lifecycle.instance.devices import (
    MAX_FINDINGS,
    Device,
    device_of_row,
    read_devices,
    read_token_update,
)
from lifecycle.mdm_servers import sql_dump, webhook
from lifecycle.pki.topic import Topic

STORED = "TokenUpdate.plist"
"""As NanoMDM's file storage calls the message."""
TABLES = ("enrollments", "nano_enrollments")
_COLUMNS = ("id", "topic", "push_magic", "token_hex", "enabled")
_OFF = frozenset({"0", "f", "false"})


@dataclass(frozen=True, slots=True)
class DeviceFile:
    """What a file holds.

    Attributes:
        devices: for the instance.
        left_out: how many were not: of another topic, or no longer enrolled.
    """

    devices: list[Device]
    left_out: int = 0


def read_device_file(data: bytes, topic: Topic | None) -> DeviceFile:
    """The devices in a file of any form.

    A server's dump or log may have devices of other topics, which are other customers': those are
    left out. In a message or a list that somebody made for this instance, they are a mistake.

    Args:
        data: the file.
        topic: the instance's; None where it is not known yet.

    Raises:
        Refused: as ``read_devices``, ``sql_dump.rows`` and ``webhook.token_updates``.
    """
    if webhook.is_json(data):
        return _of_topic(_latest(webhook.token_updates(data)), topic)
    if sql_dump.is_dump(data):
        return _dumped(data, topic)
    return DeviceFile(read_devices(data, topic))


def read_stored(messages: Iterable[bytes], topic: Topic | None) -> DeviceFile:
    """The devices of NanoMDM's file storage: all its ``TokenUpdate.plist`` files.

    Raises:
        Refused: as ``read_token_update``; ``device_list_empty``.
    """
    found = _latest(messages)
    if not found:
        raise refuse(
            "device_list_empty",
            f"There is no {STORED} in the folder or below it.",
            "Name the folder that NanoMDM was given with -storage-dsn.",
        )
    return _of_topic(found, topic)


def _latest(messages: Iterable[bytes]) -> list[Device]:
    found = (device for message in messages for device in read_token_update(message))
    return list({device.udid: device for device in found}.values())


def _of_topic(devices: list[Device], topic: Topic | None) -> DeviceFile:
    ours = [device for device in devices if topic is None or device.topic == topic]
    return DeviceFile(ours, len(devices) - len(ours))


def _dumped(data: bytes, topic: Topic | None) -> DeviceFile:
    findings: list[Finding] = []
    devices: list[Device] = []
    left_out = 0
    for number, row in enumerate(sql_dump.rows(data, TABLES, _COLUMNS), 1):
        if row.get("enabled") in _OFF or (topic is not None and row.get("topic") != topic):
            left_out += 1
            continue
        cells = {
            "udid": row.get("id") or "",
            "topic": row.get("topic") or "",
            "token": row.get("token_hex") or "",
            "push_magic": row.get("push_magic") or "",
        }
        device = device_of_row(cells, None, f"Enrolment {number}: ", findings)
        if device is not None:
            devices.append(device)
    raise_for(findings[:MAX_FINDINGS])
    return DeviceFile(devices, left_out)
