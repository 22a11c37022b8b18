"""The taxonomy of reasons, held to the list that APNs documents."""

from __future__ import annotations

import json
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lifecycle.apns.push import MAX_PAYLOAD
from lifecycle.apns.reasons import MEANINGS, Reason, Who, meaning, read_reason
from lifecycle.apns.token import DeviceToken, PushMagic
from lifecycle.errors import Refused

DOCUMENTED = {
    400: (
        "BadCollapseId BadDeviceToken BadExpirationDate BadMessageId BadPriority BadTopic"
        " DeviceTokenNotForTopic DuplicateHeaders IdleTimeout InvalidPushType MissingDeviceToken"
        " MissingTopic PayloadEmpty TopicDisallowed"
    ),
    403: "BadCertificate BadCertificateEnvironment Forbidden",
    404: "BadPath",
    405: "MethodNotAllowed",
    410: "Unregistered ExpiredToken",
    413: "PayloadTooLarge",
    429: "TooManyRequests",
    500: "InternalServerError",
    503: "ServiceUnavailable Shutdown",
}


def names() -> set[str]:
    return {name for names in DOCUMENTED.values() for name in names.split()}


def test_every_documented_reason_is_known_and_no_other_but_one() -> None:
    """A certificate's user meets one of the provider-token reasons: where APNs saw none."""
    assert {str(reason) for reason in Reason} == names() | {"MissingProviderToken"}
    assert set(MEANINGS) == set(Reason)


@pytest.mark.parametrize(
    ("status", "reason"),
    [(status, name) for status, names in DOCUMENTED.items() for name in names.split()],
)
def test_only_429_500_and_503_are_retried(status: int, reason: str) -> None:
    meant = meaning(status, reason)
    assert meant.retry == (status in {429, 500, 503})
    assert meant.sentence.endswith(".")


@given(status=st.integers(100, 599), reason=st.one_of(st.none(), st.text(max_size=30)))
def test_reasons_of_tomorrow_have_a_meaning_too(status: int, reason: str | None) -> None:
    assert meaning(status, reason).retry == (status in {429, 500, 503})


def test_a_reason_cannot_talk_us_into_retrying_a_400() -> None:
    assert not meaning(400, "TooManyRequests").retry


@pytest.mark.parametrize(
    ("document", "reason"),
    [
        ({"reason": "BadTopic"}, "BadTopic"),
        ({"reason": "NotInventedYet"}, "NotInventedYet"),
        ({"reason": ""}, None),
        ({"reason": "Two Words"}, None),
        ({"reason": "Line\n"}, None),
        ({"reason": "\x1b[31m"}, None),
        ({"reason": "a" * 49}, None),
        ({"reason": "deadbeef00" * 4}, None),
        ({"reason": ["BadTopic"]}, None),
        ({}, None),
        (["reason"], None),
        (None, None),
    ],
)
def test_a_reason_is_a_word_of_letters_or_it_is_none(document: object, reason: str | None) -> None:
    assert read_reason(document) == reason


def test_who_must_act_is_named() -> None:
    assert meaning(400, "TopicDisallowed").who is Who.CUSTOMER
    assert meaning(410, "Unregistered").who is Who.DEVICE
    assert meaning(503, "Shutdown").who is Who.APPLE
    assert meaning(200, None).who is Who.NOBODY


@pytest.mark.parametrize("text", ["", "xyz", "00" * 15, "00" * 101, "0" * 63])
def test_a_malformed_token_is_refused_without_being_repeated(text: str) -> None:
    with pytest.raises(Refused) as refused:
        DeviceToken.from_hex(text)
    assert refused.value.codes == ("device_token_malformed",)
    if len(text) > 10:
        assert text not in str(refused.value)


def test_a_token_and_a_magic_do_not_show() -> None:
    token = DeviceToken.from_bytes(b"\x01" * 32)
    magic = PushMagic.random(random.Random(1))  # noqa: S311
    assert token.hex not in repr(token) + str(token) + f"{token}"
    assert magic.text not in repr(magic) + str(magic)
    with pytest.raises(Refused):
        PushMagic("")


@given(st.text(min_size=1, max_size=256))
def test_any_push_magic_fits_into_a_payload(text: str) -> None:
    payload = json.dumps({"mdm": PushMagic(text).text}, separators=(",", ":")).encode()
    assert len(payload) <= MAX_PAYLOAD


def test_the_longest_push_magic_that_must_be_escaped_throughout_fits() -> None:
    payload = json.dumps({"mdm": PushMagic("\U0001f600" * 256).text}).encode()
    assert 3000 < len(payload) <= MAX_PAYLOAD
    with pytest.raises(Refused):
        PushMagic("a" * 257)
