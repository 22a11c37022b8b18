"""A secret in a process is found wherever it is: environment, arguments, open files, memory."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from lifecycle.pki.keys import generate_key, key_to_pem
from lifecycle.rehearsal.disclosure import Search, Secret
from lifecycle.rehearsal.processes import can_be_seen, open_files, search_process

TOKEN = bytes.fromhex("5c" * 3 + "a17e93d04b6f82c1" * 3 + "77" * 5)
SEARCH = Search([Secret("the token", TOKEN)])


@contextmanager
def python(code: str, *arguments: str, **environment: str) -> Iterator[int]:
    """A process that runs ``code``, says that it has, and stays; gives its number."""
    with subprocess.Popen(
        [sys.executable, "-c", f"{code}\nprint('ready', flush=True); input()", *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=environment,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        assert process.stdout.readline() == "ready\n"
        yield process.pid
        process.stdin.write("\n")


def places(pid: int, search: Search = SEARCH) -> set[str]:
    assert can_be_seen(pid)
    return {found.where for found in search_process("it", pid, search)}


def test_a_process_that_has_no_secret_shows_none() -> None:
    with python("import ssl, json") as pid:
        assert places(pid) == set()


def test_an_environment_with_a_secret_is_found() -> None:
    with python("", TOKEN=TOKEN.hex()) as pid:
        assert "the environment of it" in places(pid)


def test_an_argument_with_a_secret_is_found() -> None:
    with python("", TOKEN.hex().upper()) as pid:
        assert "the arguments of it" in places(pid)


def test_an_open_file_with_a_secret_is_found_even_where_nothing_was_read_of_it(
    tmp_path: Path,
) -> None:
    (tmp_path / "list.csv").write_text(f"UDID,{TOKEN.hex()}\n")
    with python("import sys; file = open(sys.argv[1])", str(tmp_path / "list.csv")) as pid:
        assert tmp_path / "list.csv" in open_files(pid)
        assert places(pid) == {"list.csv, open in it"}


def test_a_secret_that_was_only_ever_in_memory_is_found() -> None:
    assembled = f"kept = bytes([byte ^ 255 for byte in {bytes(b ^ 255 for b in TOKEN)!r}])"
    with python(assembled) as pid:
        assert places(pid) == {"the memory of it"}


def test_a_private_key_that_a_process_has_loaded_is_found(tmp_path: Path) -> None:
    key = generate_key()
    file = tmp_path / "signing.key"
    file.write_bytes(key_to_pem(key, None))
    load = (
        "import sys, pathlib; from lifecycle.pki.keys import load_private_key\n"
        "path = pathlib.Path(sys.argv[1])\n"
        "key = load_private_key(path.read_bytes(), None); path.unlink()"
    )
    search = Search(Secret.of_key("the key", key))
    with python(load, str(file)) as pid:
        found = search_process("it", pid, search)
    assert {(hit.where, hit.form) for hit in found} >= {("the memory of it", "raw, backwards")}


@pytest.mark.parametrize("length", [8, 16, 32, 128])
@pytest.mark.parametrize("at", [0, 1, 7, 8, 9, 24, 25, 26, 4095])
def test_the_search_of_many_secrets_finds_each_at_any_place(length: int, at: int) -> None:
    secrets = [
        Secret(f"secret {n}", hashlib.shake_128(bytes([n])).digest(length)) for n in range(40)
    ]
    search = Search(secrets)
    for secret in secrets[:: 7 if length > 8 else 39]:
        data = b"\x00" * at + secret.value + b"\x00" * 100
        assert secret.name in {hit.secret for hit in search.in_bytes("here", data)}
    assert search.in_bytes("here", b"\x00" * 5000) == []


def test_a_secret_that_is_too_short_to_be_told_from_chance_is_refused() -> None:
    with pytest.raises(ValueError, match="too short"):
        Search([Secret("a PIN", b"1234")])
