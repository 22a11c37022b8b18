"""The signer of a deployment, opened from the configuration; needs no database."""

from __future__ import annotations

from dataclasses import replace

from lifecycle.boundary import WriteObserver
from lifecycle.config import Config
from lifecycle.passphrase import FromFile, PassphraseSource, parse_source, resolve
from lifecycle.vendor.signer import SignerDirectory


def configured_signer(config: Config, observer: WriteObserver | None = None) -> SignerDirectory:
    """The signer's directory; its key's passphrase is fetched when the key is needed."""
    source = secret_source(config, config.signer.passphrase)
    return SignerDirectory(config.path(config.signer.directory), lambda: resolve(source), observer)


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
