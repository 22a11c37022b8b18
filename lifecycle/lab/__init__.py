"""Apple, locally: the Push Certificates Portal and APNs on loopback, on a clock that is moved.

Needs ``pushcert[lab]``. What is offered here is documented in docs/library.md and stays as it is,
and so are the fixtures of ``lifecycle.lab.pytest_plugin``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lifecycle.exports import offer

if TYPE_CHECKING:
    from lifecycle.lab.authority import Authority, LabCa
    from lifecycle.lab.clock import LabClock, OffsetClock
    from lifecycle.lab.devices import DeviceRegistry
    from lifecycle.lab.faults import Fault, Faults
    from lifecycle.lab.gateway import ApnsGateway
    from lifecycle.lab.issued import (
        Issued,
        IssuePushCertificate,
        issue_push_certificate,
        issue_signing_certificate,
    )
    from lifecycle.lab.mailbox import Mailbox
    from lifecycle.lab.portal import Portal, PortalRow
    from lifecycle.lab.portal_client import PortalClient
    from lifecycle.lab.portal_http import PortalServer
    from lifecycle.lab.serve import Lab
else:
    __getattr__, __dir__ = offer(
        __name__,
        {
            "authority": ("Authority", "LabCa"),
            "clock": ("LabClock", "OffsetClock"),
            "devices": ("DeviceRegistry",),
            "faults": ("Fault", "Faults"),
            "gateway": ("ApnsGateway",),
            "issued": (
                "IssuePushCertificate",
                "Issued",
                "issue_push_certificate",
                "issue_signing_certificate",
            ),
            "mailbox": ("Mailbox",),
            "portal": ("Portal", "PortalRow"),
            "portal_client": ("PortalClient",),
            "portal_http": ("PortalServer",),
            "serve": ("Lab",),
        },
        extra="lab",
    )

__all__ = [
    "ApnsGateway",
    "Authority",
    "DeviceRegistry",
    "Fault",
    "Faults",
    "IssuePushCertificate",
    "Issued",
    "Lab",
    "LabCa",
    "LabClock",
    "Mailbox",
    "OffsetClock",
    "Portal",
    "PortalClient",
    "PortalRow",
    "PortalServer",
    "issue_push_certificate",
    "issue_signing_certificate",
]
