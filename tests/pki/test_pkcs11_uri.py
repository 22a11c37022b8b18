"""PKCS#11 URIs, by the rules of RFC 7512."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lifecycle.errors import Refused
from lifecycle.pki.pkcs11_uri import Pkcs11Uri, parse_pkcs11_uri


def codes(text: str) -> tuple[str, ...]:
    with pytest.raises(Refused) as refused:
        parse_pkcs11_uri(text)
    return refused.value.codes


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        # The examples of RFC 7512, section 3, as far as they name a private key of a token.
        ("pkcs11:", Pkcs11Uri()),
        (
            "pkcs11:token=The%20Software%20PKCS%2311%20Softtoken;manufacturer=Snake%20Oil,%20Inc."
            ";model=1.0;object=my-certificate;type=private;id=%69%95%3E%5C%F4%BD%EC%91;serial="
            "?pin-source=file:/etc/token_pin",
            Pkcs11Uri(
                token="The Software PKCS#11 Softtoken",
                manufacturer="Snake Oil, Inc.",
                model="1.0",
                object="my-certificate",
                id=b"\x69\x95\x3e\x5c\xf4\xbd\xec\x91",
                serial="",
                pin_source="file:/etc/token_pin",
            ),
        ),
        (
            "pkcs11:object=my-sign-key;type=private?pin-source=|/usr/lib/pinomatic",
            Pkcs11Uri(object="my-sign-key", pin_source="|/usr/lib/pinomatic"),
        ),
        (
            "pkcs11:slot-description=Sun%20Metaslot;slot-id=327",
            Pkcs11Uri(slot_description="Sun Metaslot", slot_id=327),
        ),
        ("pkcs11:token=a%3Bb%25;object=a=b&c", Pkcs11Uri(token="a;b%", object="a=b&c")),
        ("PKCS11:token=Schl%C3%BCssel", Pkcs11Uri(token="Schlüssel")),
        ("pkcs11:?module-path=/usr/lib/x.so", Pkcs11Uri(module_path=Path("/usr/lib/x.so"))),
    ],
)
def test_what_the_rfc_allows_is_read(text: str, wanted: Pkcs11Uri) -> None:
    assert parse_pkcs11_uri(text) == wanted
    assert parse_pkcs11_uri(str(wanted)) == wanted


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
uris = st.builds(
    Pkcs11Uri,
    token=st.none() | texts,
    serial=st.none() | texts,
    object=st.none() | texts,
    id=st.none() | st.binary(max_size=8),
    slot_id=st.none() | st.integers(0, 2**64 - 1),
    module_path=st.none() | st.just(Path("/opt/hsm & co;/lib?.so")),
    pin_source=st.none() | st.just("|/bin/pin --of='a&b;c'") | st.just("file:/run/pin 1"),
)


@given(uris)
def test_a_uri_that_was_written_is_read_as_it_was(uri: Pkcs11Uri) -> None:
    assert parse_pkcs11_uri(str(uri)) == uri


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("", "pkcs11_uri_malformed"),
        ("https://example.com", "pkcs11_uri_malformed"),
        ("pkcs11:token", "pkcs11_uri_malformed"),
        ("pkcs11:token=a b", "pkcs11_uri_malformed"),
        ("pkcs11:token=a%2", "pkcs11_uri_malformed"),
        ("pkcs11:token=ü", "pkcs11_uri_malformed"),
        ("pkcs11:token=a;", "pkcs11_uri_malformed"),
        ("pkcs11:token=" + "a" * 4096, "pkcs11_uri_malformed"),
        ("pkcs11:token=a;token=b", "pkcs11_uri_twice"),
        ("pkcs11:tokn=a", "pkcs11_uri_unknown"),
        ("pkcs11:library-version=3", "pkcs11_uri_unknown"),
        ("pkcs11:x-vendor=1", "pkcs11_uri_unknown"),
        ("pkcs11:Token=a", "pkcs11_uri_unknown"),
        ("pkcs11:module-path=/a", "pkcs11_uri_unknown"),
        ("pkcs11:?token=a", "pkcs11_uri_unknown"),
        ("pkcs11:slot-id=x", "pkcs11_uri_value"),
        ("pkcs11:slot-id=-1", "pkcs11_uri_value"),
        ("pkcs11:type=cert", "pkcs11_uri_value"),
        ("pkcs11:token=%FF", "pkcs11_uri_value"),
        ("pkcs11:?module-path=softhsm.so", "pkcs11_uri_value"),
        ("pkcs11:?pin-source=secret", "pkcs11_uri_value"),
    ],
)
def test_what_it_does_not_allow_is_refused(text: str, code: str) -> None:
    assert codes(text) == (code,)


def test_an_attribute_that_is_not_known_is_named_and_everything_wrong_is_said_at_once() -> None:
    with pytest.raises(Refused) as refused:
        parse_pkcs11_uri("pkcs11:tokn=a;slot-id=x;id=%0?module-name=p")
    assert refused.value.codes == (
        "pkcs11_uri_unknown",
        "pkcs11_uri_value",
        "pkcs11_uri_malformed",
        "pkcs11_uri_unknown",
    )
    assert "“tokn”" in str(refused.value)
    assert "“module-name”" in str(refused.value)


@pytest.mark.parametrize("text", ["pkcs11:?pin-value=4711", "pkcs11:pin-value=4711;token=a"])
def test_a_pin_in_the_uri_is_refused_and_not_repeated(text: str) -> None:
    with pytest.raises(Refused) as refused:
        parse_pkcs11_uri(text)
    assert refused.value.codes == ("pkcs11_uri_pin",)
    assert "4711" not in str(refused.value)


@given(st.text(max_size=60) | texts.map(lambda text: f"pkcs11:{text}"))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        found = parse_pkcs11_uri(text)
    except Refused:
        return
    assert parse_pkcs11_uri(str(found)) == found
