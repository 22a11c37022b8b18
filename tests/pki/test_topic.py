"""Topics: only what begins like an MDM topic, letter by letter."""

from __future__ import annotations

import pytest

from lifecycle.errors import Refused
from lifecycle.pki.topic import Topic

EXTERNAL = "com.apple.mgmt.External.0f3a7f7e-6f5e-4d8a-9b1f-2c6a3e5d7b90"


@pytest.mark.parametrize("text", [EXTERNAL, "com.apple.mgmt.XServer.a1b2", "com.apple.mgmt.x"])
def test_mdm_topics_are_taken_as_they_are(text: str) -> None:
    topic = Topic(text)
    assert topic == text
    assert isinstance(topic, str)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "com.apple.mgmt.",
        "com.apple.mgmtx.External",
        "com.example.app",
        "Com.Apple.Mgmt.External.1",
        " " + EXTERNAL,
        EXTERNAL + "\n",
        EXTERNAL + "\0",
        "com.apple.mgmt.a b",
        "com.apple.mgmt.é",
        "com.apple.mgmt." + "a" * 201,
    ],
)
def test_everything_else_is_refused(text: str) -> None:
    with pytest.raises(Refused) as refused:
        Topic(text)
    assert refused.value.codes == ("topic_not_mdm",)


def test_parse_drops_white_space_around_a_pasted_topic() -> None:
    assert Topic.parse(f"  {EXTERNAL}\r\n") == Topic(EXTERNAL)


def test_parse_refuses_what_is_no_topic() -> None:
    with pytest.raises(Refused, match=r"com\.example\.app"):
        Topic.parse("com.example.app")
