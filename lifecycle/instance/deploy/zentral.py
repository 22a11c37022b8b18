"""A deploy target that is a Zentral server."""

from __future__ import annotations

from lifecycle.errors import refuse
from lifecycle.instance.deploy.plan import About
from lifecycle.mdm_servers.zentral import Zentral
from lifecycle.pki.pair import Pair


class ZentralTarget:
    """A ``Target`` that is a Zentral server.

    Its API takes no certificate, so a person uploads it; this says so, in the report as well,
    until Zentral has it.

    Args:
        about: what is known of it.
        server: its API.
    """

    def __init__(self, about: About, server: Zentral) -> None:
        self._about = about
        self._server = server

    @property
    def about(self) -> About:
        """See ``Target.about``."""
        return self._about

    def deploy(self, pair: Pair) -> None:
        """See ``Target.deploy``: nothing can be brought, so it is only verified."""
        self.verify(pair)

    def verify(self, pair: Pair) -> None:
        """See ``Target.verify``.

        Raises:
            Refused: ``zentral_by_hand``, or as ``Zentral.certificates``.
        """
        wanted = pair.certificate
        for found in self._server.certificates():
            if found.topic == wanted.topic and found.not_after == wanted.not_after.replace(
                microsecond=0
            ):
                return
        raise refuse(
            "zentral_by_hand",
            f"Zentral at {self._about.place} does not have the certificate with serial"
            f" {wanted.serial} yet, and its API takes none.",
            "Run `pushcert instance export` with --certificate and again with --key, and upload"
            " both in Zentral under MDM, Push certificates, beside the one with the same topic.",
        )
