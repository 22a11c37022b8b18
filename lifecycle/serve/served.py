"""What the HTTP server works with: the vendor's plane, without signer and without instances."""

from __future__ import annotations

from functools import cached_property

from lifecycle.config import Config
from lifecycle.pki.chain import TrustStore
from lifecycle.serve.listen import Listening
from lifecycle.trust import configured_trust
from lifecycle.vendor.desk import Desk
from lifecycle.vendor_side import VendorSide


class Served(VendorSide):
    """The vendor's plane as ``serve`` has it; see ``VendorSide`` for what it is made of."""

    @cached_property
    def trust(self) -> TrustStore:
        """What push certificates must chain to."""
        return configured_trust(self.config)

    def desk(self, slug: str, credential_id: str | None = None) -> Desk:
        """The vendor's side of the link for one customer."""
        return Desk(
            self.database,
            slug,
            self.clock,
            self.trust,
            self.notices,
            credential_id,
            self.policy,
        )


def listening(config: Config) -> Listening:
    """Where and how the configuration wants it to listen."""
    section = config.serve
    return Listening(
        host=section.host,
        port=section.port,
        certificate=None if section.certificate is None else config.path(section.certificate),
        key=None if section.key is None else config.path(section.key),
        trusted_proxies=section.trusted_proxies,
    )
