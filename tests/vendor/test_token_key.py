"""The MDM signing key in a PKCS#11 token; the token is SoftHSM 2's."""

from __future__ import annotations

import stat
import subprocess
from collections.abc import Callable, Iterator
from datetime import UTC
from pathlib import Path

import pytest

from lifecycle.errors import Refused, Unavailable
from lifecycle.passphrase import FromCommand, FromEnvironment, FromFile, PassphraseSource, resolve
from lifecycle.pki.chain import TrustStore, parse_certificates
from lifecycle.pki.keys import generate_key, load_private_key
from lifecycle.pki.pkcs11_uri import Pkcs11Uri, parse_pkcs11_uri
from lifecycle.vendor.signer import SignerDirectory
from lifecycle.vendor.token_key import TokenKey
from tests.softhsm import ID, OBJECT, PIN, Token, soft_token

VECTORS = Path(__file__).resolve().parent.parent / "vectors"
CSR = (VECTORS / "customer-csr.der").read_bytes()
KEY = load_private_key((VECTORS / "vendor.key").read_bytes(), None)
CERTIFICATE = parse_certificates((VECTORS / "vendor.pem").read_bytes())[0]
TRUST = TrustStore.of(
    c
    for name in ("wwdr", "root")
    for c in parse_certificates((VECTORS / f"{name}.pem").read_bytes())
)
NOW = CERTIFICATE.not_valid_before_utc.astimezone(UTC)


@pytest.fixture
def token(tmp_path: Path) -> Iterator[Token]:
    with soft_token(tmp_path) as made:
        made.put(KEY)
        yield made


class Pin:
    """Tells a PIN, and how often it was asked for."""

    def __init__(self, pin: str = PIN) -> None:
        self.pin = pin
        self.asked = 0

    def __call__(self) -> bytes:
        self.asked += 1
        return self.pin.encode()


def key_in(token: Token, pin: Callable[[], bytes | None] | None = None, uri: str = "") -> TokenKey:
    return TokenKey(parse_pkcs11_uri(uri or token.uri()), pin or Pin())


def directory(
    folder: Path, token: Token, pin: Callable[[], bytes | None] | None = None
) -> SignerDirectory:
    return SignerDirectory(folder / "signer", tokens=lambda uri: TokenKey(uri, pin or Pin()))


def refused_by(act: Callable[[], object]) -> tuple[str, ...]:
    with pytest.raises(Refused) as refused:
        act()
    assert PIN not in str(refused.value)
    return refused.value.codes


def test_a_request_signed_in_the_token_is_that_of_the_file_key_byte_for_byte(
    token: Token, tmp_path: Path
) -> None:
    in_file = SignerDirectory(tmp_path / "file")
    in_file.install(CERTIFICATE, KEY, (), TRUST, at=NOW)
    in_token = directory(tmp_path, token)
    in_token.install_token(CERTIFICATE, parse_pkcs11_uri(token.uri()), (), TRUST, at=NOW)
    assert in_token.sign(CSR) == in_file.sign(CSR)
    assert in_token.sign(CSR).request.encode() == (VECTORS / "request.b64").read_bytes().strip()
    assert in_token.current() == in_file.current()


def test_a_token_that_does_not_hash_gives_the_same_bytes(
    token: Token, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = key_in(token).sign(CSR)
    config = token.config.read_text()
    token.config.write_text(f"{config}slots.mechanisms = CKM_RSA_PKCS\n")
    assert key_in(token).sign(CSR) == expected


def test_nothing_is_left_of_a_key_that_moves_into_a_token(token: Token, tmp_path: Path) -> None:
    signer = directory(tmp_path, token)
    signer.install(CERTIFICATE, KEY, (), TRUST, at=NOW)
    before = signer.sign(CSR)
    signer.install_token(CERTIFICATE, parse_pkcs11_uri(token.uri()), (), TRUST, at=NOW)
    assert not list(tmp_path.rglob("signing.key"))
    assert signer.sign(CSR) == before
    for path in (tmp_path / "signer").rglob("*"):
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, path
    signer.install(CERTIFICATE, KEY, (), TRUST, at=NOW)
    assert signer.token() is None
    assert signer.sign(CSR) == before


def test_a_token_with_another_key_is_refused_and_nothing_is_written(
    token: Token, tmp_path: Path
) -> None:
    token.put(generate_key(), label="other", id=b"\x02")
    signer = directory(tmp_path, token)
    uri = parse_pkcs11_uri(token.uri(object="other"))
    assert refused_by(lambda: signer.install_token(CERTIFICATE, uri, (), TRUST, at=NOW)) == (
        "signing_key_mismatch",
    )
    assert signer.current() is None
    assert not (tmp_path / "signer").exists()


def test_the_certificate_is_checked_as_beside_a_file_key(token: Token, tmp_path: Path) -> None:
    signer, uri = directory(tmp_path, token), parse_pkcs11_uri(token.uri())
    lone = TrustStore((), ())
    assert refused_by(lambda: signer.install_token(CERTIFICATE, uri, (), lone, at=NOW))
    later = CERTIFICATE.not_valid_after_utc
    assert "signing_certificate_expired" in refused_by(
        lambda: signer.install_token(CERTIFICATE, uri, (), TRUST, at=later)
    )


@pytest.mark.parametrize("way", ["environment", "file", "command"])
def test_the_pin_comes_from_where_it_is_kept(
    way: str, token: Token, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "pin"
    file.write_text(f"{PIN}\n")
    file.chmod(0o600)
    monkeypatch.setenv("THE_PIN", PIN)
    sources: dict[str, PassphraseSource] = {
        "environment": FromEnvironment("THE_PIN"),
        "file": FromFile(file),
        "command": FromCommand(f"cat {file}"),
    }
    assert key_in(token, lambda: resolve(sources[way])).sign(CSR)


def test_requests_wait_while_the_token_is_out_and_go_on_when_it_is_back(token: Token) -> None:
    key = key_in(token)
    before = key.sign(CSR)
    for _ in range(3):
        token.pull_out()
        for _ in range(2):
            with pytest.raises(Unavailable):
                key.sign(CSR)
            with pytest.raises(Unavailable):
                key.facts()
        token.put_back()
        assert key.sign(CSR) == before


def test_a_session_that_somebody_else_ended_is_opened_again(token: Token) -> None:
    pin = Pin()
    key = key_in(token, pin)
    before = key.sign(CSR)
    key.sign(CSR)
    assert pin.asked == 1, "one login, however many signatures"
    import pkcs11

    pkcs11.lib(str(token.module)).reinitialize()
    assert key.sign(CSR) == before
    assert pin.asked == 2


def test_a_wrong_pin_is_tried_once(token: Token) -> None:
    pin = Pin("000000")
    key = key_in(token, pin)
    for _ in range(4):
        assert refused_by(lambda: key.sign(CSR)) == ("token_pin_wrong",)
    tokens = key._library().get_slots(token_present=True)
    from pkcs11 import TokenFlag

    flags = next(s.get_token().flags for s in tokens if s.get_token().label.startswith("vendor"))
    assert flags & TokenFlag.USER_PIN_COUNT_LOW
    assert not flags & TokenFlag.USER_PIN_LOCKED
    pin.pin = PIN
    assert key.sign(CSR)


def test_no_pin_is_tried_on_a_token_that_the_next_wrong_one_would_lock(
    token: Token, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SoftHSM never gets there, so its flag is set here."""
    from pkcs11 import TokenFlag

    pin = Pin()
    key = key_in(token, pin)

    class OnTheBrink:
        flags = TokenFlag.LOGIN_REQUIRED | TokenFlag.USER_PIN_FINAL_TRY

    assert refused_by(lambda: key._checked_pin(OnTheBrink())) == ("token_pin_last_try",)
    OnTheBrink.flags = TokenFlag.LOGIN_REQUIRED | TokenFlag.USER_PIN_LOCKED
    assert refused_by(lambda: key._checked_pin(OnTheBrink())) == ("token_pin_locked",)


def test_without_a_pin_the_token_is_not_asked(token: Token) -> None:
    assert refused_by(lambda: key_in(token, lambda: None).sign(CSR)) == ("token_pin_missing",)


@pytest.mark.parametrize(
    ("uri", "code"),
    [
        ("object=nothing", "token_key_missing"),
        ("id=%99", "token_key_missing"),
        ("", "token_key_ambiguous"),
        ("object=mdm%3B%20signing%20100%25", None),
        ("id=%00%A1%FF", None),
        ("token=vendor%20keys;id=%00%A1%FF;type=private", None),
        ("manufacturer=SoftHSM%20project;model=SoftHSM%20v2;id=%00%A1%FF", None),
        ("slot-manufacturer=SoftHSM%20project;id=%00%A1%FF", None),
    ],
)
def test_the_uri_picks_the_key(token: Token, uri: str, code: str | None) -> None:
    token.put(generate_key(), label="other", id=b"\x02")
    key = key_in(token, uri=f"pkcs11:{uri}?module-path={token.module}")
    if code is None:
        facts = key.facts()
        assert (facts.token, facts.object) == ("vendor keys", OBJECT)
        assert ID.hex() == "00a1ff"
    else:
        assert refused_by(lambda: key.sign(CSR)) == (code,)


@pytest.mark.parametrize(
    "uri", ["token=other", "serial=0123", "slot-id=4242", "model=none", "manufacturer=none"]
)
def test_a_token_that_is_not_there_may_come(token: Token, uri: str) -> None:
    key = key_in(token, uri=f"pkcs11:{uri}?module-path={token.module}")
    with pytest.raises(Unavailable):
        key.sign(CSR)


def test_two_tokens_that_fit_are_not_guessed_between(token: Token) -> None:
    token.set_up("vendor keys too")
    key = key_in(token, uri=f"pkcs11:id=%00%A1%FF?module-path={token.module}")
    assert refused_by(lambda: key.sign(CSR)) == ("token_ambiguous",)


def test_a_module_that_is_none_is_named(tmp_path: Path) -> None:
    for wrong in (tmp_path / "missing.so", Path("/bin/true")):
        key = TokenKey(Pkcs11Uri(module_path=wrong), Pin())
        with pytest.raises(Refused) as refused:
            key.sign(CSR)
        assert refused.value.codes == ("token_module_unusable",)
        assert str(wrong) in str(refused.value)
    assert refused_by(lambda: TokenKey(Pkcs11Uri(), Pin()).sign(CSR)) == ("token_module_missing",)


def test_without_the_library_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "pkcs11", None)
    key = TokenKey(Pkcs11Uri(module_path=Path("/x.so")), Pin())
    with pytest.raises(Refused, match=r"pushcert\[hsm\]"):
        key.sign(CSR)


def test_a_key_that_could_be_taken_out_is_noted(token: Token, tmp_path: Path) -> None:
    token.generate("open", EXTRACTABLE=True, SENSITIVE=False)
    assert key_in(token, uri=token.uri(object="open")).facts().leaves
    assert not key_in(token).facts().leaves


def test_a_key_that_wants_its_pin_for_each_signature_gets_it(token: Token) -> None:
    token.generate("each time", ALWAYS_AUTHENTICATE=True)
    pin = Pin()
    key = key_in(token, pin, uri=token.uri(object="each time"))
    assert key.sign(CSR) == key.sign(CSR)
    assert pin.asked == 3, "at the login and for both signatures"


def test_the_token_signs_what_openssl_verifies(token: Token, tmp_path: Path) -> None:
    (tmp_path / "signature").write_bytes(key_in(token).sign(CSR))
    public = CERTIFICATE.public_key()
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    (tmp_path / "public.pem").write_bytes(
        public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    )
    checked = subprocess.run(
        [
            *("openssl", "dgst", "-sha256", "-verify", str(tmp_path / "public.pem")),
            *("-signature", str(tmp_path / "signature"), str(VECTORS / "customer-csr.der")),
        ],
        capture_output=True,
        text=True,
    )
    assert checked.stdout == "Verified OK\n"
