"""DER at its outermost: lengths are read and written as X.690 has them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lifecycle.pki.der import SEQUENCE, element, element_length


@pytest.mark.parametrize("size", [0, 1, 127, 128, 255, 256, 65535, 65536])
def test_the_length_that_is_written_is_the_length_that_is_read(size: int) -> None:
    whole = element(SEQUENCE, bytes(size))
    assert element_length(whole) == len(whole)
    assert element_length(whole + b"tail") == len(whole)


def test_an_element_that_is_cut_off_says_how_long_it_should_be() -> None:
    whole = element(SEQUENCE, bytes(300))
    assert element_length(whole[:10]) == len(whole)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x30",
        b"\x31\x00",
        b"\x30\x80\x00\x00",  # indefinite: BER, not DER
        b"\x30\x82\x01",
        b"\x30\x85\x00\x00\x00\x00\x01",
        b"-----BEGIN",
    ],
)
def test_what_is_no_sequence_of_definite_length_has_no_length(data: bytes) -> None:
    assert element_length(data) is None


@given(st.binary(max_size=20))
def test_any_bytes_have_a_length_or_none(data: bytes) -> None:
    length = element_length(data)
    assert length is None or length >= 2


def test_parts_are_joined() -> None:
    assert element(SEQUENCE, b"a", b"bc") == b"\x30\x03abc"
