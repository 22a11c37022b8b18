"""Devices as a CSV list."""

from __future__ import annotations

from fuzz.harness import refusals
from lifecycle.instance.devices import read_device_csv
from lifecycle.pki.topic import Topic

PARSERS = (
    "lifecycle.instance.devices.read_device_csv",
    "lifecycle.instance.devices.device_of_row",
)
WEIGHT = 5
_TOPIC = Topic("com.apple.mgmt.External.x")
_HEAD = b"udid,token,push_magic,topic\n"


def one(data: bytes) -> None:
    """Devices or a refusal. Input that begins with ``H`` gets the right header."""
    if data.startswith(b"H"):
        data = _HEAD + data[1:]
    with refusals():
        for device in read_device_csv(data, _TOPIC):
            device.udid.encode()
            assert device.udid.isprintable()


def seeds() -> dict[str, bytes]:
    """A good list, one with topics, quotes, a repeated device."""
    row = b"U-1," + b"ab" * 32 + b",magic"
    return {
        "plain": b"udid,token,push_magic\r\n" + row + b"\r\n",
        "topic": _HEAD + row + b",com.apple.mgmt.External.y\n",
        "headed": b"H" + row + b"\n" + row + b"\n",
        "quotes": b'H"U,2",' + b"cd" * 16 + b',"a""b"\n',
        "long-row": b"H1,2,3,4,5\n",
        "bom": b"\xef\xbb\xbfUDID,Token,push_magic\n" + row,
    }
