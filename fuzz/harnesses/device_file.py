"""Devices from whatever an MDM server leaves: events of a webhook, a database's dump."""

from __future__ import annotations

import base64
import json

from fuzz.harness import refusals
from fuzz.harnesses.token_update import message
from lifecycle.instance.device_files import read_device_file, read_stored
from lifecycle.mdm_servers.webhook import token_updates
from lifecycle.pki.topic import Topic

PARSERS = (
    "lifecycle.instance.device_files.read_device_file",
    "lifecycle.instance.device_files.read_stored",
    "lifecycle.mdm_servers.webhook.token_updates",
)
LONGEST = 8192
WEIGHT = 2
_TOPIC = Topic("com.apple.mgmt.External.x")


def one(data: bytes) -> None:
    """Devices or a refusal."""
    for topic in (_TOPIC, None):
        with refusals():
            for device in read_device_file(data, topic).devices:
                device.udid.encode()
    with refusals():
        read_stored([data], _TOPIC)
    with refusals():
        token_updates(data)


def event(payload: bytes) -> dict[str, object]:
    """An event with a check-in message, as NanoMDM sends it."""
    return {
        "topic": "mdm.TokenUpdate",
        "checkin_event": {"raw_payload": base64.b64encode(payload).decode()},
    }


def seeds() -> dict[str, bytes]:
    """Events in the three forms, and dumps of both databases."""
    one_event = event(message("U-1", _TOPIC, b"\x01" * 32))
    insert = (
        b"-- MySQL dump 10.13\nCREATE TABLE `enrollments` (\n  `id` varchar(255) NOT NULL,\n"
        b"  `topic` varchar(255),\n  `push_magic` varchar(127),\n  `token_hex` varchar(255),\n"
        b"  PRIMARY KEY (`id`)\n) ENGINE=InnoDB;\nINSERT INTO `enrollments` VALUES "
        b"('U-1','com.apple.mgmt.External.x','m\\'','" + b"ab" * 16 + b"');\n"
    )
    copy = (
        b"--\n-- PostgreSQL database dump\n--\n\nCOPY public.enrollments (id, topic, push_magic,"
        b" token_hex, enabled) FROM stdin;\nU-1\tcom.apple.mgmt.External.x\tm\t"
        + b"ab" * 16
        + b"\tt\n\\.\n"
    )
    return {
        "event": json.dumps(one_event).encode(),
        "list": json.dumps([one_event, {"topic": "mdm.Connect"}]).encode(),
        "lines": b"\n".join(json.dumps(one_event).encode() for _ in range(2)),
        "not-ascii": b'{"topic":"mdm.TokenUpdate","checkin_event":{"raw_payload":"a"}}',
        "mysql": insert,
        "postgres": copy,
    }
