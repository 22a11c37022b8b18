from __future__ import annotations

import contextlib
import plistlib
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lifecycle.apns.token import DeviceToken
from lifecycle.errors import Refused
from lifecycle.instance.devices import (
    MAX_CSV_BYTES,
    MAX_FINDINGS,
    MAX_TOKEN_UPDATE_BYTES,
    read_device_csv,
    read_devices,
    read_token_update,
)
from lifecycle.pki.topic import Topic

if TYPE_CHECKING:
    from tests.instance.conftest import World

TOPIC = Topic("com.apple.mgmt.External.0a4d8f1e-1111-4c22-9a33-5d6e7f809101")
TOKEN = bytes(range(32))
MAGIC = "C0FFEE00-1234-4ABC-9DEF-001122334455"

# The form of a check-in as devices send it (Apple, "Token Update"; FACTS.md).
MESSAGE: dict[str, object] = {
    "AwaitingConfiguration": False,
    "MessageType": "TokenUpdate",
    "PushMagic": MAGIC,
    "Token": TOKEN,
    "Topic": str(TOPIC),
    "UDID": "00008030-001A35E40212402E",
    "UnlockToken": b"\x00" * 400,
}


def message(**changes: object) -> bytes:
    return plistlib.dumps({**MESSAGE, **changes})


def without(key: str) -> bytes:
    return plistlib.dumps({k: v for k, v in MESSAGE.items() if k != key})


def csv_of(*rows: str, header: str = "udid,token,push_magic,topic") -> bytes:
    return "\n".join((header, *rows, "")).encode()


def row(udid: str, token: bytes = TOKEN, magic: str = MAGIC, topic: str = TOPIC) -> str:
    return f"{udid},{token.hex()},{magic},{topic}"


class TestTokenUpdate:
    @pytest.mark.parametrize("form", [plistlib.FMT_XML, plistlib.FMT_BINARY])
    def test_both_forms_of_property_list_are_read(self, form: plistlib.PlistFormat) -> None:
        (device,) = read_devices(plistlib.dumps(MESSAGE, fmt=form))
        assert device.udid == MESSAGE["UDID"]
        assert device.topic == TOPIC
        assert device.token.raw == TOKEN

    def test_an_enrolment_without_udid_goes_by_its_enrolment_id(self) -> None:
        data = plistlib.dumps(
            {k: v for k, v in MESSAGE.items() if k != "UDID"} | {"EnrollmentID": "E-1"}
        )
        assert read_token_update(data)[0].udid == "E-1"

    def test_a_user_channel_is_kept_apart_from_its_device(self) -> None:
        assert read_token_update(message(UserID="U-9"))[0].udid == f"{MESSAGE['UDID']}:U-9"

    @pytest.mark.parametrize("key", ["Token", "PushMagic", "Topic", "UDID"])
    def test_a_missing_value_is_refused(self, key: str) -> None:
        with pytest.raises(Refused) as refused:
            read_token_update(without(key))
        assert len(refused.value.findings) == 1
        assert refused.value.findings[0].remedy

    def test_every_bad_value_is_named(self) -> None:
        with pytest.raises(Refused) as refused:
            read_token_update(message(Token="text", PushMagic=7, Topic="com.example", UDID=""))
        assert len(refused.value.findings) == 4

    @pytest.mark.parametrize(
        ("data", "code"),
        [
            (message(MessageType="Authenticate"), "token_update_expected"),
            (without("MessageType"), "token_update_expected"),
            (plistlib.dumps(["TokenUpdate"]), "token_update_expected"),
            (message()[:200], "token_update_unreadable"),
            (b"<html><body>Sign in</body></html>", "token_update_unreadable"),
            (b"bplist00" + b"\xff" * 64, "token_update_unreadable"),
            (b"<" + b" " * MAX_TOKEN_UPDATE_BYTES, "devices_too_big"),
            (
                b'<?xml version="1.0"?><!DOCTYPE plist [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]>'
                b"<plist><string>&b;</string></plist>",
                "token_update_unreadable",
            ),
        ],
    )
    def test_anything_else_is_refused(self, data: bytes, code: str) -> None:
        with pytest.raises(Refused) as refused:
            read_devices(data)
        assert refused.value.codes == (code,)

    @given(st.binary(max_size=400))
    def test_no_bytes_do_anything_but_be_refused(self, data: bytes) -> None:
        for prefix in (b"", b"bplist00", b"<plist>"):
            with pytest.raises(Refused):
                read_token_update(prefix + data)

    @given(st.data())
    def test_no_damage_to_a_message_does_anything_worse_than_a_refusal(
        self, data: st.DataObject
    ) -> None:
        form = data.draw(st.sampled_from([plistlib.FMT_XML, plistlib.FMT_BINARY]))
        damaged = bytearray(plistlib.dumps(MESSAGE, fmt=form))
        for _ in range(data.draw(st.integers(1, 8))):
            damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
        try:
            devices = read_token_update(bytes(damaged))
        except Refused:
            return
        assert len(devices) == 1


class TestCsv:
    def test_a_list_is_read(self) -> None:
        devices = read_devices(csv_of(row("A"), row("B", b"\1" * 32)))
        assert [(d.udid, d.token.raw, d.topic) for d in devices] == [
            ("A", TOKEN, TOPIC),
            ("B", b"\1" * 32, TOPIC),
        ]

    def test_a_bom_crlf_blank_lines_spaces_and_upper_case_names_do_not_matter(self) -> None:
        text = "UDID, Token ,PUSH_MAGIC,topic\r\n\r\n A , " + row("A")[2:] + "\r\n,,,\r\n"
        (device,) = read_device_csv(b"\xef\xbb\xbf" + text.encode())
        assert device.udid == "A"

    def test_without_a_topic_column_the_instances_topic_is_taken(self) -> None:
        data = csv_of(f"A,{TOKEN.hex()},{MAGIC}", header="udid,token,push_magic")
        assert read_device_csv(data, TOPIC)[0].topic == TOPIC
        with pytest.raises(Refused) as refused:
            read_device_csv(data)
        assert refused.value.codes == ("device_value_missing",)

    def test_every_bad_row_is_named_with_its_line(self) -> None:
        data = csv_of(
            row("A"),
            f"B,nothex,{MAGIC},{TOPIC}",
            row("C", b"\2" * 32, magic=""),
            row("D", b"\3" * 32, topic="com.example.app"),
            "",
            row("", b"\4" * 32),
            row("A", b"\5" * 32),
            row("E", b"\6" * 32) + ",extra",
        )
        with pytest.raises(Refused) as refused:
            read_device_csv(data)
        lines = [f.message.partition(":")[0] for f in refused.value.findings]
        assert lines == [f"Line {n}" for n in (3, 4, 5, 7, 8, 9)]

    def test_a_list_with_the_same_fault_everywhere_is_cut_short(self) -> None:
        with pytest.raises(Refused) as refused:
            read_device_csv(csv_of(*(f"D{n},xx,{MAGIC},{TOPIC}" for n in range(500))))
        assert len(refused.value.findings) == MAX_FINDINGS

    @pytest.mark.parametrize(
        ("data", "code"),
        [
            (b"", "device_columns"),
            (csv_of(row("A"), header="udid,token"), "device_columns"),
            (csv_of(row("A"), header="udid,token,push_magic,owner"), "device_columns"),
            (csv_of(row("A"), header="udid,udid,token,push_magic"), "device_columns"),
            (csv_of(), "device_list_empty"),
            ("udid,token,push_magic\nä".encode("latin-1"), "device_list_unreadable"),
            (csv_of('"unclosed,a,b,c'), "device_list_unreadable"),
            (b"udid" * (MAX_CSV_BYTES // 4 + 1), "devices_too_big"),
        ],
    )
    def test_a_list_in_another_form_is_refused(self, data: bytes, code: str) -> None:
        with pytest.raises(Refused) as refused:
            read_device_csv(data)
        assert refused.value.codes == (code,)

    @given(st.text(max_size=300))
    def test_no_text_does_anything_worse_than_a_refusal(self, text: str) -> None:
        for prefix in ("", "udid,token,push_magic\n"):
            with contextlib.suppress(Refused):
                read_device_csv((prefix + text).encode("utf-8", "surrogatepass"), TOPIC)


class TestImport:
    def test_devices_are_added_then_updated(self, world: World) -> None:
        world.renew()
        first = world.vault.import_devices(
            csv_of(row("A"), row("B", b"\1" * 32)), world.clock.now()
        )
        assert (first.added, first.updated) == (("A", "B"), ())
        world.vault.devices.note_answer(DeviceToken(TOKEN).fingerprint, 410, world.clock.now())
        world.vault.devices.set_canary("A", canary=True)
        world.clock.advance(timedelta(days=1))
        second = world.vault.import_devices(csv_of(row("A", b"\2" * 32)), world.clock.now())
        assert (second.added, second.updated) == ((), ("A",))
        assert world.vault.devices.open("A").token.raw == b"\2" * 32
        known = {d.udid: d for d in world.vault.devices.all()}["A"]
        assert (known.seen_at, known.gone_at) == (world.clock.now(), None)
        assert known.canary, "a choice that a person made stays"

    def test_nothing_is_imported_when_one_row_is_refused(self, world: World) -> None:
        world.renew()
        files = world.files()
        other = "com.apple.mgmt.External.ffffffff-0000-4c22-9a33-5d6e7f809103"
        data = csv_of(row("A"), row("B", b"\1" * 32, topic=other))
        with pytest.raises(Refused) as refused:
            world.vault.import_devices(data, world.clock.now())
        assert refused.value.codes == ("device_topic_foreign",)
        assert "B" in str(refused.value)
        assert world.files() == files

    def test_before_there_is_a_certificate_all_devices_must_have_one_topic(
        self, world: World
    ) -> None:
        other = "com.apple.mgmt.External.ffffffff-0000-4c22-9a33-5d6e7f809103"
        with pytest.raises(Refused) as refused:
            world.vault.import_devices(
                csv_of(row("A"), row("B", b"\1" * 32, topic=other)), world.clock.now()
            )
        assert refused.value.codes == ("device_topics_differ",)
        world.vault.import_devices(csv_of(row("A")), world.clock.now())
        with pytest.raises(Refused) as refused:
            world.vault.import_devices(csv_of(row("B", b"\1" * 32, topic=other)), world.clock.now())
        assert refused.value.codes == ("device_topic_foreign",)

    def test_one_token_for_two_devices_is_refused(self, world: World) -> None:
        with pytest.raises(Refused) as refused:
            world.vault.import_devices(csv_of(row("A"), row("B")), world.clock.now())
        assert refused.value.codes == ("device_token_shared",)
        world.vault.import_devices(csv_of(row("A")), world.clock.now())
        with pytest.raises(Refused) as refused:
            world.vault.import_devices(csv_of(row("B")), world.clock.now())
        assert refused.value.codes == ("device_token_shared",)
        world.vault.devices.remove("A")
        world.vault.import_devices(csv_of(row("B")), world.clock.now())

    def test_two_devices_may_not_swap_tokens_in_one_import(self, world: World) -> None:
        one, two = b"\1" * 32, b"\2" * 32
        world.vault.import_devices(csv_of(row("A", one), row("B", two)), world.clock.now())
        with pytest.raises(Refused):
            world.vault.import_devices(csv_of(row("A", two), row("B", one)), world.clock.now())

    def test_an_answer_about_an_earlier_token_does_not_mark_the_device(self, world: World) -> None:
        world.vault.import_devices(csv_of(row("A")), world.clock.now())
        world.vault.import_devices(csv_of(row("A", b"\1" * 32)), world.clock.now())
        world.vault.devices.note_answer(DeviceToken(TOKEN).fingerprint, 410, world.clock.now())
        assert world.vault.devices.all()[0].gone_at is None

    def test_a_device_that_was_gone_and_answers_is_back(self, world: World) -> None:
        device = world.import_device("A")
        world.vault.devices.note_answer(device.token.fingerprint, 410, world.clock.now())
        assert world.vault.devices.reachable(TOPIC, 1) == ()
        world.vault.devices.note_answer(device.token.fingerprint, None, world.clock.now())
        world.vault.devices.note_answer(device.token.fingerprint, 503, world.clock.now())
        assert world.vault.devices.reachable(TOPIC, 1) == ()
        world.vault.devices.note_answer(device.token.fingerprint, 200, world.clock.now())
        assert [d.udid for d in world.vault.devices.reachable(TOPIC, 1)] == ["A"]

    def test_an_unknown_device_is_refused(self, world: World) -> None:
        for call in (
            lambda: world.vault.devices.open("X"),
            lambda: world.vault.devices.remove("X"),
            lambda: world.vault.devices.set_canary("X", canary=True),
        ):
            with pytest.raises(Refused) as refused:
                call()
            assert refused.value.codes == ("device_unknown",)
