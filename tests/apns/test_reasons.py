"""The taxonomy of reasons, held to the list that APNs documents."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lifecycle.apns.reasons import MEANINGS, Reason, Who, meaning
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


def test_every_documented_reason_is_known_and_no_other() -> None:
    documented = {name for names in DOCUMENTED.values() for name in names.split()}
    assert {str(reason) for reason in Reason} == documented
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
