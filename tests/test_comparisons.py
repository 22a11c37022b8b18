"""Every comparison of a secret takes the same time whatever is compared: found in the source."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SECRET = re.compile(
    r"(?:^|_)(?:token|secret|password|passphrase|digest|signature|mac|hash|nonce|verifier|cookie"
    r"|magic|proof|otp|api_key)(?:s|es)?(?:_|$)"
)
NO_SECRET = {
    "DeviceRow.token_fingerprint == token_fingerprint": "SHA-256, which may be shown",
    "(owner := first.setdefault(device.token.fingerprint, device.udid)) != device.udid": "a UDID",
    "(owner := owners.get(device.token.fingerprint, device.udid)) != device.udid": "a UDID",
    "len(nonce) == NONCE_BYTES": "a length",
    "event.get('topic') != TOKEN_UPDATE": "the name of an event",
    "response.hash_algorithm.name == asked.hash_algorithm.name": "the name of an algorithm",
    "(response.issuer_key_hash, response.issuer_name_hash) != "
    "(asked.issuer_key_hash, asked.issuer_name_hash)": "of public certificates",
    "mac[0] != _SEQUENCE": "a DER tag",
    "digest[0] != _SEQUENCE": "a DER tag",
    "digest.hexdigest() != said.sha256": "of a file, in a manifest beside it",
    "digest != asset_file(name).digest": "of a public file",
    "shard.contents[place] == _hash_of(row)": "of a row of a list, to know it again",
    "visitor != request.cookies.get(VISITOR_COOKIE)": "whether our own value must be set anew",
    "OutboxMessage.kind == Kind.DIGEST": "a kind of message",
    "entry.hash == entry_hash(": "of the audit log",
    "entry.hash == self._expect": "of the audit log, which operators note down",
    "head.hash != last.hash": "of the audit log",
    "col(SealedCanary.token_fingerprint) != sent.token_fingerprint": "SHA-256",
    "OutboxMessage.dedupe_key == digest_key(day)": "a message of the day",
    "FeedToken.token_hash == _hash(token)": "an index's look-up of SHA-256 of 192 random bits",
    "Invitation.code_hash == _hash(code)": "an index's look-up of SHA-256 of 125 random bits",
    "tokens[probe] == tokens[Probe.OWN]": "fingerprints",
}
"""Comparisons whose words sound like a secret, and why they compare none."""


def comparisons(text: str) -> Iterator[str]:
    """Those with ``==`` or ``!=`` in whose names a secret is spoken of."""
    for node in ast.walk(ast.parse(text)):
        if not isinstance(node, ast.Compare):
            continue
        if not any(isinstance(op, ast.Eq | ast.NotEq) for op in node.ops):
            continue
        spoken = {
            part.id if isinstance(part, ast.Name) else part.attr
            for part in ast.walk(node)
            if isinstance(part, ast.Name | ast.Attribute)
        }
        if any(SECRET.search(name.lower()) for name in spoken):
            yield ast.unparse(node)


def sources() -> list[Path]:
    """What is installed, without the lab and the rehearsal, which keep no secret."""
    found = [*(ROOT / "lifecycle").rglob("*.py"), *(ROOT / "cli").rglob("*.py")]
    return [path for path in found if not {"lab", "rehearsal"} & set(path.parts)]


@pytest.mark.parametrize("path", sources(), ids=lambda path: path.relative_to(ROOT).as_posix())
def test_no_secret_is_compared_letter_by_letter(path: Path) -> None:
    for comparison in comparisons(path.read_text()):
        assert any(comparison.startswith(known) for known in NO_SECRET), (
            f"{comparison}: use hmac.compare_digest, or say in NO_SECRET why not"
        )


def test_the_search_finds_what_it_is_for() -> None:
    assert list(comparisons("if given_token == self.token: pass"))
    assert list(comparisons("return password_hash != row.password_hash"))
    assert list(comparisons("x = hashlib.sha256(code).digest() == known"))
    assert not list(comparisons("hmac.compare_digest(token, given)"))


def test_every_exception_is_still_there() -> None:
    text = {comparison for path in sources() for comparison in comparisons(path.read_text())}
    for known in NO_SECRET:
        assert any(comparison.startswith(known) for comparison in text), known
