"""The trust store of a deployment: Apple's bundled CAs and what the configuration adds."""

from __future__ import annotations

from lifecycle.config import Config
from lifecycle.errors import refuse
from lifecycle.pki.chain import TrustStore, parse_certificates


def configured_trust(config: Config) -> TrustStore:
    """Apple's roots and intermediates, and the certificates of every ``trust.extra`` file.

    Raises:
        Refused: a file cannot be read or holds no certificate.
    """
    trust = TrustStore.apple()
    for path in config.trust.extra:
        try:
            data = config.path(path).read_bytes()
        except OSError as error:
            raise refuse(
                "trust_unreadable",
                f"The CA file {path} of the configuration cannot be read ({error.strerror}).",
                "Mend trust.extra in config.toml.",
            ) from None
        trust = trust.with_extra(parse_certificates(data))
    return trust
