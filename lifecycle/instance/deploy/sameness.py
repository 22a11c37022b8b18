"""Whether a server has the certificate that it was given."""

from __future__ import annotations

from lifecycle.errors import refuse
from lifecycle.mdm_servers.server_certificate import ServerCertificate
from lifecycle.pki.pair import Pair


def require_same(found: ServerCertificate, pair: Pair, host: str) -> None:
    """Checks that a server answers with the topic and the expiry of the certificate.

    Raises:
        Refused: ``deploy_other_topic``, ``deploy_other_expiry``, ``deploy_other_certificate``
            (where the server gives the certificate itself).
    """
    wanted = pair.certificate
    if found.topic != wanted.topic:
        raise refuse(
            "deploy_other_topic",
            f"{host} answers with the topic {found.topic[:80]}, not {wanted.topic}.",
            "Find out what else writes its push certificate, or whose server it is.",
        )
    if found.not_after.replace(microsecond=0) != wanted.not_after.replace(microsecond=0):
        raise refuse(
            "deploy_other_expiry",
            f"{host} answers with a certificate until {found.not_after:%Y-%m-%d %H:%M}, not"
            f" {wanted.not_after:%Y-%m-%d %H:%M}.",
            "Find out what else writes its push certificate.",
        )
    if found.pem is not None and found.pem != wanted.pem:
        raise refuse(
            "deploy_other_certificate",
            f"{host} answers with another certificate, of the same topic and end.",
            "Find out what else writes its push certificate.",
        )
