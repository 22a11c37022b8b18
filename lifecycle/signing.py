"""The signer of a deployment, opened from the configuration; needs no database."""

from __future__ import annotations

from lifecycle.boundary import WriteObserver
from lifecycle.config import Config
from lifecycle.passphrase import resolve
from lifecycle.secret import secret_source
from lifecycle.vendor.signer import SignerDirectory


def configured_signer(config: Config, observer: WriteObserver | None = None) -> SignerDirectory:
    """The signer's directory; its key's passphrase is fetched when the key is needed."""
    source = secret_source(config, config.signer.passphrase)
    return SignerDirectory(config.path(config.signer.directory), lambda: resolve(source), observer)
