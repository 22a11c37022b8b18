"""TokenUpdate messages: property lists, XML and binary, as a device sends them."""

from __future__ import annotations

import plistlib

from fuzz.harness import refusals
from lifecycle.instance.devices import read_devices, read_token_update

PARSERS = (
    "lifecycle.instance.devices.read_token_update",
    "lifecycle.instance.devices.read_devices",
)
LONGEST = 8192
WEIGHT = 2


def one(data: bytes) -> None:
    """A device or a refusal; the device written as a message is read as the same."""
    with refusals():
        devices = read_token_update(data)
        for device in devices:
            device.udid.encode()
            assert read_devices(message(device.udid, device.topic, device.token.raw)) is not None
            assert device.token.hex not in repr(device)


def message(udid: str, topic: str, token: bytes, fmt: plistlib.PlistFormat | None = None) -> bytes:
    """A TokenUpdate with these values."""
    values = {
        "MessageType": "TokenUpdate",
        "UDID": udid,
        "Topic": topic,
        "Token": token,
        "PushMagic": "magic",
    }
    return plistlib.dumps(values, fmt=plistlib.FMT_BINARY if fmt is None else fmt)


def seeds() -> dict[str, bytes]:
    """A device and a user channel, in XML and binary."""
    topic, token = "com.apple.mgmt.External.x", b"\x01" * 32
    return {
        "binary": message("U-1", topic, token),
        "xml": message("U-1", topic, token, plistlib.FMT_XML),
        "other": plistlib.dumps({"MessageType": "Authenticate"}),
        "deep": b"<plist>" + b"<array>" * 200 + b"</array>" * 200 + b"</plist>",
        "odd": b"<plist><dict><key>a</key><date>2026-11-24T00:00:00Z</date><key>b</key>"
        b"<integer>0x1F</integer><key>c</key><real>1e9</real><key>d</key><true/></dict></plist>",
    }
