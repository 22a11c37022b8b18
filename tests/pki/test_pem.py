"""PEM is read generously and written strictly."""

from __future__ import annotations

import base64
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lifecycle.errors import Refused
from lifecycle.pki.pem import PemBlock, encode_pem, lines_obey_rule, pem_blocks, plain_text

DER = bytes(range(200))
PEM = encode_pem("CERTIFICATE", DER)


@given(st.binary(min_size=1, max_size=400))
def test_what_is_written_obeys_the_rule_and_reads_back(der: bytes) -> None:
    pem = encode_pem("CERTIFICATE REQUEST", der)
    assert lines_obey_rule(pem)
    assert pem_blocks(pem.encode()) == (PemBlock("CERTIFICATE REQUEST", der),)
    body = pem.splitlines()[1:-1]
    assert all(len(line) == 64 for line in body[:-1])
    assert 1 <= len(body[-1]) <= 64
    assert "".join(body) == base64.b64encode(der).decode()


def test_writing_gives_the_very_bytes_that_openssl_writes(vector: Callable[[str], bytes]) -> None:
    written = vector("customer-csr.pem")
    (block,) = pem_blocks(written)
    assert encode_pem(block.label, block.der).encode() == written


@pytest.mark.parametrize(
    "data",
    [
        PEM.encode(),
        PEM.replace("\n", "\r\n").encode(),
        PEM.replace("\n", "\r").encode(),
        b"\xef\xbb\xbf" + PEM.encode(),
        PEM.encode("utf-16"),
        PEM.encode("utf-16-le"),
        PEM.encode("utf-16-be"),
        b"\xfe\xff" + PEM.encode("utf-16-be"),
        b"Bag Attributes\n    friendlyName: x\n" + PEM.encode() + b"kind regards\n",
        PEM.replace("\n", "\n    ").encode(),
        PEM.rstrip("\n").encode(),
        PEM.replace("\n", " \n\n").encode(),
        f"-----BEGIN CERTIFICATE-----\n{base64.b64encode(DER).decode()}\n"
        "-----END CERTIFICATE-----".encode(),
    ],
)
def test_every_way_a_block_arrives_is_read(data: bytes) -> None:
    assert pem_blocks(data) == (PemBlock("CERTIFICATE", DER),)


def test_several_blocks_keep_their_order() -> None:
    data = encode_pem("A", b"1") + "text\n" + encode_pem("B", b"2") + encode_pem("A", b"3")
    assert [(b.label, b.der) for b in pem_blocks(data.encode())] == [
        ("A", b"1"),
        ("B", b"2"),
        ("A", b"3"),
    ]


@pytest.mark.parametrize("data", [b"", b"no PEM", b"-----END CERTIFICATE-----", DER])
def test_no_block_is_an_empty_answer(data: bytes) -> None:
    assert pem_blocks(data) == ()


@pytest.mark.parametrize(
    "data",
    [
        PEM.encode()[:100],
        PEM.encode()[:-5],
        PEM.replace("END CERTIFICATE", "END CERTIFICATE REQUEST").encode(),
        PEM.encode()[:100] + b"\n" + PEM.encode(),
    ],
)
def test_a_block_without_its_end_is_refused(data: bytes) -> None:
    with pytest.raises(Refused) as refused:
        pem_blocks(data)
    assert refused.value.codes == ("pem_truncated",)


@pytest.mark.parametrize("body", ["", "AAA", "AA*A", "AA=A", "Zm9vYmFy\0", "é"])
def test_a_body_that_is_no_base64_is_refused(body: str) -> None:
    data = f"-----BEGIN X-----\n{body}\n-----END X-----\n".encode()
    with pytest.raises(Refused) as refused:
        pem_blocks(data)
    assert refused.value.codes == ("pem_damaged",)


@given(st.binary(max_size=300))
def test_no_bytes_make_reading_fail_otherwise(junk: bytes) -> None:
    for data in (junk, b"-----BEGIN X-----" + junk + b"-----END X-----"):
        codes = _codes_of(data)
        assert set(codes) <= {"pem_truncated", "pem_damaged"}


def test_repr_of_a_block_shows_nothing_of_its_content() -> None:
    (block,) = pem_blocks(encode_pem("PRIVATE KEY", b"secret").encode())
    shown = repr(block)
    assert "PRIVATE KEY" in shown
    assert "secret" not in shown
    assert base64.b64encode(b"secret").decode() not in shown


def test_headers_of_an_old_encrypted_key_stay_in_the_text_of_the_block() -> None:
    headers = "Proc-Type: 4,ENCRYPTED\r\nDEK-Info: DES-EDE3-CBC,00FF\r\n\r\n"
    data = f"-----BEGIN RSA PRIVATE KEY-----\r\n{headers}AAAA\r\n-----END RSA PRIVATE KEY-----"
    (block,) = pem_blocks(data.encode())
    assert block.der == b"\0\0\0"
    assert block.text == data.replace("\r\n", "\n").encode() + b"\n"


def test_plain_text_leaves_other_data_alone() -> None:
    assert plain_text(DER) is DER
    assert plain_text(bytes(64)) == bytes(64)


@pytest.mark.parametrize(
    "broken",
    [
        "",
        "\n",
        PEM.replace("\n", "\r\n"),
        " " + PEM,
        "Subject: x\n" + PEM,
        PEM + "\n",
        PEM + "trailing",
        PEM.rstrip("\n"),
        PEM.replace("END CERTIFICATE", "END X"),
        f"-----BEGIN X-----\n{'A' * 65}\n-----END X-----\n",
        f"-----BEGIN X-----\n{'A' * 63}\nAAAA\n-----END X-----\n",
        f"-----BEGIN X-----\n{'A' * 64}\n\n-----END X-----\n",
        f"-----BEGIN X-----\n{'A' * 76}\nAAAA\n-----END X-----\n",
        "-----BEGIN X-----\n-----END X-----\n",
    ],
)
def test_the_line_rule_is_broken_by(broken: str) -> None:
    assert not lines_obey_rule(broken)


def test_the_chain_of_the_vectors_obeys_the_line_rule(vector: Callable[[str], bytes]) -> None:
    assert lines_obey_rule(vector("chain.pem").decode())


def _codes_of(data: bytes) -> tuple[str, ...]:
    try:
        pem_blocks(data)
    except Refused as refused:
        return refused.codes
    return ()
