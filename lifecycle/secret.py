"""Where a configured secret comes from."""

from __future__ import annotations

from dataclasses import replace

from lifecycle.config import Config
from lifecycle.passphrase import FromFile, PassphraseSource, parse_source


def secret_source(config: Config, text: str | None) -> PassphraseSource | None:
    """Where a configured secret comes from; relative files are taken from the file's folder.

    Raises:
        Refused: ``passphrase_source_unknown``.
    """
    if text is None:
        return None
    source = parse_source(text)
    if isinstance(source, FromFile):
        return replace(source, path=config.path(source.path))
    return source
