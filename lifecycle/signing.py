"""The signer of a deployment, opened from the configuration; needs no database."""

from __future__ import annotations

from pathlib import Path

from lifecycle.boundary import WriteObserver
from lifecycle.config import Config
from lifecycle.passphrase import FromCommand, FromFile, PassphraseSource, resolve
from lifecycle.pki.pkcs11_uri import Pkcs11Uri
from lifecycle.secret import secret_source
from lifecycle.vendor.signer import SignerDirectory
from lifecycle.vendor.token_key import TokenKey


def configured_signer(config: Config, observer: WriteObserver | None = None) -> SignerDirectory:
    """The signer's directory; its key's passphrase, or its token's PIN, is fetched when needed."""
    source = secret_source(config, config.signer.passphrase)

    def token(uri: Pkcs11Uri) -> TokenKey:
        pin = pin_source(config, uri)
        module = config.signer.module
        return TokenKey(uri, lambda: resolve(pin), None if module is None else config.path(module))

    return SignerDirectory(
        config.path(config.signer.directory), lambda: resolve(source), observer, token
    )


def pin_source(config: Config, uri: Pkcs11Uri) -> PassphraseSource | None:
    """Where the token's PIN comes from: the URI's ``pin-source`` before ``signer.pin``."""
    said = uri.pin_source
    if said is None:
        return secret_source(config, config.signer.pin)
    if said.startswith("|"):
        return FromCommand(said[1:])
    path = said.removeprefix("file:")
    return FromFile(Path("/" + path.lstrip("/")))
