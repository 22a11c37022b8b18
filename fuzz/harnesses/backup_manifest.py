"""The manifest of a backup: the first thing that is read of an archive from elsewhere."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from fuzz.harness import refusals
from lifecycle.backup.manifest import FileFacts, Manifest, age_in_words, read_manifest, require_fit

PARSERS = ("lifecycle.backup.manifest.read_manifest",)
LONGEST = 4096
_NOW = datetime(2027, 3, 1, 12, tzinfo=UTC)


def one(data: bytes) -> None:
    """A manifest or a refusal; one that was read is written as it was, and its age has words."""
    with refusals():
        manifest = read_manifest(data)
        assert Manifest.model_validate_json(manifest.as_bytes()) == manifest
        assert age_in_words(manifest, _NOW)
        assert manifest.size >= 0
        require_fit(manifest, "vendor", "0006")


def seeds() -> dict[str, bytes]:
    """One of each plane, and one of a version to come."""
    made = Manifest(
        plane="vendor",
        made_at=_NOW - timedelta(hours=10),
        made_by="0.1.0",
        revision="0006",
        name="Example MDM",
        counts={"customer": 3},
        audit_head="0a" * 32,
        files={"registry.db": FileFacts(size=4096, sha256="0b" * 32)},
    )
    return {
        "vendor": made.as_bytes(),
        "instance": made.model_copy(update={"plane": "instance", "files": {}}).as_bytes(),
        "newer": b'{"version": 999999999}',
    }
