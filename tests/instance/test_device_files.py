"""Devices as NanoMDM has them: webhook events, database dumps, file storage."""

from __future__ import annotations

import base64
import json
import plistlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from lifecycle.apns.token import DeviceToken
from lifecycle.errors import Refused
from lifecycle.instance.device_files import STORED, read_device_file, read_stored
from lifecycle.pki.topic import Topic

if TYPE_CHECKING:
    from tests.instance.conftest import World

DUMPS = Path(__file__).parents[1] / "mdm_servers" / "dumps"
OURS = Topic("com.apple.mgmt.External.0f3a7f7e-6f5e-4d8a-9b1f-2c6a3e5d7b90")
OTHERS = Topic("com.apple.mgmt.External.77c0ffee-2222-4c22-9a33-5d6e7f809102")
EVERY_DUMP = ["mysqldump.sql", "mysqldump-complete.sql", "pg_dump.sql", "pg_dump-inserts.sql"]


def message(udid: str, topic: str = OURS, token: bytes = b"\x1a" * 32, **more: Any) -> bytes:
    return plistlib.dumps(
        {
            "MessageType": "TokenUpdate",
            "Token": token,
            "PushMagic": "73D2F9A4",
            "Topic": str(topic),
            "UDID": udid,
            **more,
        }
    )


def event(raw: bytes, kind: str = "mdm.TokenUpdate") -> dict[str, Any]:
    """As NanoMDM's service/webhook/event.json has it."""
    return {
        "topic": kind,
        "event_id": "1",
        "created_at": "2027-03-01T09:00:00Z",
        "checkin_event": {
            "udid": "D1",
            "url_params": None,
            "raw_payload": base64.b64encode(raw).decode(),
            "token_update_tally": 1,
        },
    }


class TestWebhook:
    @pytest.mark.parametrize("form", ["one", "list", "lines"])
    def test_the_message_in_an_event_is_taken(self, form: str) -> None:
        events = [
            event(message("D1")),
            {"topic": "mdm.Connect", "created_at": "2027-03-01T09:00:00Z"},
            event(message("D2", token=b"\x1b" * 32)),
        ]
        data = {
            "one": json.dumps(events[0]),
            "list": json.dumps(events),
            "lines": "\n".join(map(json.dumps, events)) + "\n",
        }[form]
        found = read_device_file(data.encode(), OURS)
        assert [d.udid for d in found.devices] == (["D1"] if form == "one" else ["D1", "D2"])

    def test_the_last_token_of_a_device_counts(self) -> None:
        events = [event(message("D1")), event(message("D1", token=b"\x2b" * 32))]
        (device,) = read_device_file(json.dumps(events).encode(), OURS).devices
        assert device.token == DeviceToken.from_bytes(b"\x2b" * 32)

    @pytest.mark.parametrize(
        ("data", "code"),
        [
            (b"{", "webhook_unreadable"),
            (b"[[[", "webhook_unreadable"),
            (b"{}", "webhook_without_tokens"),
            (json.dumps(event(b"", "mdm.Connect")).encode(), "webhook_without_tokens"),
            (
                b'{"topic": "mdm.TokenUpdate", "checkin_event": {"raw_payload": "*"}}',
                "webhook_unreadable",
            ),
            (json.dumps(event(b"no plist")).encode(), "token_update_unreadable"),
        ],
    )
    def test_what_is_no_event_is_refused(self, data: bytes, code: str) -> None:
        with pytest.raises(Refused) as refused:
            read_device_file(data, OURS)
        assert refused.value.codes == (code,)


class TestDump:
    @pytest.mark.parametrize("name", EVERY_DUMP)
    def test_the_devices_of_this_topic_that_are_enrolled_are_taken(self, name: str) -> None:
        found = read_device_file((DUMPS / name).read_bytes(), OURS)
        assert [d.udid for d in found.devices] == [
            "470E005B-17C1-4537-BBB3-0EBC340D432A",
            "470E005B-17C1-4537-BBB3-0EBC340D432A:F151140B-3988-45A9-9471-E96B49F27D93",
        ]
        assert found.devices[0].token == DeviceToken.from_bytes(b"\x1a" * 32)
        assert found.left_out == 2, "another topic, and one that is enrolled no more"

    def test_a_bad_row_is_named_and_its_token_is_not(self) -> None:
        text = (DUMPS / "mysqldump-complete.sql").read_text().replace("1a1a1a1a", "zz1a1a1a", 1)
        with pytest.raises(Refused) as refused:
            read_device_file(text.encode(), OURS)
        assert "Enrolment 1:" in str(refused.value)
        assert "1a1a1a" not in str(refused.value)


class TestStorage:
    def test_every_message_of_the_storage_is_taken(self) -> None:
        found = read_stored(
            [message("D1"), message("D2", OTHERS, b"\x2a" * 32), message("D3", token=b"\x3a" * 32)],
            OURS,
        )
        assert [d.udid for d in found.devices] == ["D1", "D3"]
        assert found.left_out == 1

    def test_an_empty_folder_says_which_one_is_meant(self) -> None:
        with pytest.raises(Refused) as refused:
            read_stored([], OURS)
        assert refused.value.codes == ("device_list_empty",)
        assert STORED in str(refused.value)


class TestIntoTheVault:
    def test_a_dump_goes_in_as_a_whole_and_can_be_given_again(self, world: World) -> None:
        data = (
            (DUMPS / "pg_dump.sql").read_bytes().replace(str(OTHERS).encode(), str(OURS).encode())
        )
        done = world.vault.import_devices(data, world.clock.now())
        assert (len(done.added), done.left_out) == (3, 1)
        again = world.vault.import_devices(data, world.clock.now())
        assert (again.added, len(again.updated)) == ((), 3)

    def test_before_a_certificate_several_topics_are_not_guessed_at(self, world: World) -> None:
        with pytest.raises(Refused) as refused:
            world.vault.import_devices((DUMPS / "pg_dump.sql").read_bytes(), world.clock.now())
        assert "device_topics_differ" in refused.value.codes

    def test_a_foreign_device_in_a_message_is_still_a_mistake(self, world: World) -> None:
        world.renew()
        with pytest.raises(Refused) as refused:
            world.vault.import_devices(message("D1", OTHERS), world.clock.now())
        assert refused.value.codes == ("device_topic_foreign",)

    def test_of_a_servers_files_only_this_topics_go_in(self, world: World) -> None:
        topic = world.renew().topic
        done = world.vault.import_stored_devices(
            [message("D1", topic), message("D2", OTHERS, b"\x2a" * 32)], world.clock.now()
        )
        assert (done.added, done.left_out) == (("D1",), 1)
