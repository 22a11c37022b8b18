from __future__ import annotations

import shlex
import sys
from pathlib import Path

import pytest

from lifecycle.errors import Refused
from lifecycle.passphrase import (
    MAX_PASSPHRASE_BYTES,
    FromCommand,
    FromEnvironment,
    FromFile,
    Held,
    PassphraseSource,
    parse_source,
    resolve,
)

SECRET = "correct horse battery staple"


def printing(code: str) -> FromCommand:
    return FromCommand(shlex.join([sys.executable, "-c", code]))


@pytest.fixture
def secret_file(tmp_path: Path) -> Path:
    path = tmp_path / "passphrase"
    path.write_text(SECRET + "\n")
    path.chmod(0o600)
    return path


def test_no_source_is_no_passphrase() -> None:
    assert resolve(None) is None


def test_the_environment_gives_the_passphrase(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VAULT_PASSPHRASE", SECRET)
    assert resolve(FromEnvironment("VAULT_PASSPHRASE")) == SECRET.encode()


def test_a_file_gives_the_passphrase_without_its_line_end(secret_file: Path) -> None:
    assert resolve(FromFile(secret_file)) == SECRET.encode()


def test_a_command_gives_the_passphrase_without_its_line_end() -> None:
    assert resolve(printing(f"print({SECRET!r})")) == SECRET.encode()


def test_only_one_line_end_is_dropped_and_no_blank() -> None:
    assert resolve(Held(b" two words \r\n")) == b" two words "
    assert resolve(Held(b"line\n\n")) == b"line\n"


def test_a_command_is_not_given_to_a_shell(tmp_path: Path) -> None:
    sentinel = tmp_path / "sentinel"
    found = resolve(FromCommand(f"echo $HOME; touch {sentinel}"))
    assert found == f"$HOME; touch {sentinel}".encode()
    assert not sentinel.exists()


@pytest.mark.parametrize(
    ("source", "code"),
    [
        (FromEnvironment("PUSHCERT_TEST_NOT_SET"), "passphrase_missing"),
        (FromFile(Path("/nonexistent/passphrase")), "passphrase_missing"),
        (Held(b"\n"), "passphrase_missing"),
        (Held(b"x" * (MAX_PASSPHRASE_BYTES + 1)), "passphrase_too_long"),
        (FromCommand("/nonexistent/program"), "passphrase_command_failed"),
        (FromCommand("unbalanced 'quote"), "passphrase_command_failed"),
        (FromCommand(""), "passphrase_command_failed"),
        (printing("print('half'); raise SystemExit(3)"), "passphrase_command_failed"),
    ],
)
def test_a_source_that_gives_nothing_is_refused_with_a_remedy(
    source: PassphraseSource, code: str
) -> None:
    with pytest.raises(Refused) as refused:
        resolve(source)
    assert refused.value.codes == (code,)
    assert refused.value.findings[0].remedy


def test_a_command_that_hangs_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lifecycle.passphrase.COMMAND_TIMEOUT_SECONDS", 0.2)
    with pytest.raises(Refused, match="did not finish"):
        resolve(printing("import signal; signal.pause()"))


def test_a_file_that_others_can_read_is_refused_with_the_command(secret_file: Path) -> None:
    secret_file.chmod(0o640)
    with pytest.raises(Refused) as refused:
        resolve(FromFile(secret_file))
    assert refused.value.codes == ("passphrase_file_too_open",)
    assert refused.value.findings[0].remedy == f"chmod 0600 {secret_file}"


def test_a_credential_of_a_systemd_service_is_taken_with_the_mode_that_systemd_gives_it(
    secret_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret_file.chmod(0o440)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(secret_file.parent))
    source = parse_source(f"file:$CREDENTIALS_DIRECTORY/{secret_file.name}")
    assert source == FromFile(secret_file)
    assert resolve(source) == SECRET.encode()


def test_a_file_beside_the_credentials_is_held_to_its_mode_all_the_same(
    secret_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret_file.chmod(0o440)
    (secret_file.parent / "credentials").mkdir()
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(secret_file.parent / "credentials"))
    for path in (str(secret_file), f"$CREDENTIALS_DIRECTORY/../{secret_file.name}"):
        with pytest.raises(Refused) as refused:
            resolve(parse_source(f"file:{path}"))
        assert refused.value.codes == ("passphrase_file_too_open",)


def test_outside_of_a_service_a_credential_is_missing_and_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    with pytest.raises(Refused, match="CREDENTIALS_DIRECTORY/vault") as refused:
        resolve(parse_source("file:$CREDENTIALS_DIRECTORY/vault"))
    assert refused.value.codes == ("passphrase_missing",)


def test_what_a_failing_command_printed_is_in_no_error() -> None:
    source = printing(
        f"import sys; print({SECRET!r}); print({SECRET!r}, file=sys.stderr); sys.exit(1)"
    )
    with pytest.raises(Refused) as refused:
        resolve(source)
    assert SECRET not in str(refused.value)
    assert refused.value.__cause__ is None
    assert refused.value.__suppress_context__


def test_a_held_passphrase_does_not_show() -> None:
    assert SECRET not in repr(Held(SECRET.encode()))


def test_sources_are_written_as_kind_and_value() -> None:
    assert parse_source("env:NAME") == FromEnvironment("NAME")
    assert parse_source("file:/etc/pushcert/secret") == FromFile(Path("/etc/pushcert/secret"))
    assert parse_source("command: pass show x") == FromCommand("pass show x")


@pytest.mark.parametrize("text", [SECRET, "shell:hunter2", "hunter2"])
def test_a_text_that_is_no_source_is_refused_without_repeating_it(text: str) -> None:
    with pytest.raises(Refused) as refused:
        parse_source(text)
    assert refused.value.codes == ("passphrase_source_unknown",)
    assert text not in str(refused.value)


@pytest.mark.parametrize("text", ["", "env:", "file: "])
def test_a_source_without_a_value_is_refused(text: str) -> None:
    with pytest.raises(Refused):
        parse_source(text)
