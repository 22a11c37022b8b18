"""A log line on which somebody forgot what must not be logged does not show it."""

from __future__ import annotations

import ast
import copy
import pickle
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import structlog
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, x25519

from lifecycle.apns.token import DeviceToken, PushMagic
from lifecycle.instance.sealing import Sealer, Wrapping
from lifecycle.log_lines import configure
from lifecycle.passphrase import FromFile, Held, resolve
from lifecycle.pki.keys import generate_key, key_to_pem
from lifecycle.pki.pem import pem_blocks
from lifecycle.redaction import BYTES, KEY, TEXT, shown_as
from lifecycle.secret_bytes import SHOWN, SecretBytes
from lifecycle.wire.signatures import RequestSigner

SECRET = b"correct horse battery staple"
TOKEN = bytes(range(32))
RSA = generate_key()
PEM = key_to_pem(RSA, None)
D = RSA.private_numbers().d


@pytest.fixture(autouse=True)
def log_of_this_test_alone() -> Iterator[None]:
    """Other tests' log is as it was."""
    yield
    structlog.reset_defaults()


def holder() -> object:
    """Something of which only a plain ``repr`` is to be had, and that one shows the key."""

    class Careless:
        def __repr__(self) -> str:
            return f"Careless({PEM.decode()})"

    return Careless()


KINDS: dict[str, tuple[Callable[[], object], str]] = {
    "passphrase": (lambda: resolve(Held(SECRET)), SHOWN),
    "bytes": (lambda: SECRET, BYTES),
    "bytearray": (lambda: bytearray(SECRET), BYTES),
    "memoryview": (lambda: memoryview(SECRET), BYTES),
    "pem": (lambda: PEM.decode(), TEXT),
    "half a pem": (lambda: "y -----BEGIN RSA", TEXT),
    "base64 of a key": (lambda: "".join(PEM.decode().splitlines()[1:-1]), TEXT),
    "rsa key": (lambda: RSA, KEY),
    "elliptic key": (lambda: ec.generate_private_key(ec.SECP256R1()), KEY),
    "ed25519 key": (ed25519.Ed25519PrivateKey.generate, KEY),
    "x25519 key": (x25519.X25519PrivateKey.generate, KEY),
    "private numbers": (lambda: {"key": RSA.private_numbers()}, KEY),
    "device token": (lambda: DeviceToken(TOKEN), "DeviceToken("),
    "push magic": (lambda: PushMagic(SECRET.decode()), "PushMagic()"),
    "held passphrase": (lambda: Held(SECRET), "Held()"),
    "pem block": (lambda: pem_blocks(PEM), "PemBlock(label='PRIVATE KEY')"),
    "wrapped key": (lambda: Wrapping(SECRET), "Wrapping("),
    "sealer": (lambda: Sealer(TOKEN, "v"), "Sealer"),
    "signer": (lambda: RequestSigner("c", ed25519.Ed25519PrivateKey.generate()), "RequestSigner("),
    "in a list": (lambda: [1, [SECRET]], BYTES),
    "in a dict": (lambda: {"a": {"b": PEM.decode()}}, TEXT),
    "as a key of a dict": (lambda: {SECRET: 1}, BYTES),
    "in an error": (lambda: ValueError(SECRET), "ValueError"),
    "in a careless repr": (holder, TEXT),
}


@pytest.mark.parametrize("kind", KINDS)
def test_one_of_each_kind_is_logged_and_not_shown(
    kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    make, shown = KINDS[kind]
    configure()
    structlog.get_logger("test").warning("something", value=make(), customer="acme")
    line = capsys.readouterr().err
    assert shown in line
    assert "customer='acme'" in line
    spellings = (
        *(SECRET.decode(), SECRET.hex(), TOKEN.hex(), repr(TOKEN)[2:-1], str(D), "PRIVATE KEY---"),
        *PEM.decode().splitlines()[1:-1],
    )
    for secret in spellings:
        assert secret not in line


def test_a_secret_in_the_event_itself_is_not_shown(capsys: pytest.CaptureFixture[str]) -> None:
    configure()
    structlog.get_logger("test").error(PEM.decode())
    assert "MII" not in capsys.readouterr().err


def test_an_error_is_told_by_kind_and_place_and_not_by_its_text(
    capsys: pytest.CaptureFixture[str],
) -> None:
    configure()
    try:
        int(SECRET.decode())
    except ValueError:
        structlog.get_logger("test").exception("step_failed", customer=7)
    line = capsys.readouterr().err
    assert "fault='ValueError'" in line
    assert re.search(r"at='.*test_redaction\.py:\d+'", line)
    assert SECRET.decode() not in line


@pytest.mark.parametrize(
    "value",
    [None, True, 7, 2.5, "acme", "ab" * 32, "/var/lib/pushcert/instances/acme/vault.key", "3f:2a"],
)
def test_what_is_no_secret_is_logged_as_it_is(value: object) -> None:
    assert shown_as(value) == value


HOLDS_A_SECRET = re.compile(
    r"(?:^|_)(?:token|secret|password|passphrase|private_key|magic|nonce|verifier|raw|api_key)(?:$|_)"
)
SHOWS_NONE = {
    ("Server", "api_key"): "names the source of a key, as the configuration does",
    ("Provider", "secret"): "a function that fetches it",
    ("Pkcs11Uri", "token"): "the label of an HSM's token",
    ("TokenFacts", "token"): "the label of an HSM's token",
}


def test_no_value_object_shows_a_secret_of_its_own() -> None:
    root = Path(__file__).resolve().parent.parent
    shown = set()
    for path in [*(root / "lifecycle").rglob("*.py"), *(root / "cli").rglob("*.py")]:
        if {"lab", "rehearsal"} & set(path.parts):
            continue
        for kind in ast.walk(ast.parse(path.read_text())):
            if isinstance(kind, ast.ClassDef) and "dataclass" in map(_name, kind.decorator_list):
                shown |= {(kind.name, one) for one in _shown_fields(kind)}
    assert shown == set(SHOWS_NONE)


def _name(decorator: ast.expr) -> str:
    called = decorator.func if isinstance(decorator, ast.Call) else decorator
    return called.id if isinstance(called, ast.Name) else ""


def _shown_fields(kind: ast.ClassDef) -> Iterator[str]:
    own_repr = any(isinstance(one, ast.FunctionDef) and one.name == "__repr__" for one in kind.body)
    for one in kind.body:
        if not isinstance(one, ast.AnnAssign) or not isinstance(one.target, ast.Name) or own_repr:
            continue
        hidden = one.value is not None and "repr=False" in ast.unparse(one.value)
        of_text = re.search(r"\b(?:str|bytes)\b|PrivateKey", ast.unparse(one.annotation))
        if HOLDS_A_SECRET.search(one.target.id) and of_text and not hidden:
            yield one.target.id


def test_what_goes_round_in_circles_ends() -> None:
    circle: list[object] = []
    circle.append(circle)
    assert "list" in str(shown_as(circle))


def test_a_secret_is_bytes_to_functions_and_nothing_to_people(tmp_path: Path) -> None:
    file = tmp_path / "passphrase"
    file.touch(0o600)
    file.write_bytes(SECRET + b"\n")
    found = resolve(FromFile(file))
    assert found == SECRET
    assert isinstance(found, SecretBytes)
    assert {repr(found), str(found), f"{found}", f"{found!r}"} == {SHOWN}
    assert f"{found:>10}" == "  <secret>"
    assert found.decode() == SECRET.decode()
    for escape in (pickle.dumps, copy.deepcopy):
        with pytest.raises(TypeError, match="not pickled"):
            escape(found)
