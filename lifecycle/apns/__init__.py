"""Pushing through APNs with a push certificate: HTTP/2, retries, and what each answer means.

What is offered here is documented in docs/library.md and stays as it is; the rest of the package
is pushcert's own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lifecycle.exports import offer

if TYPE_CHECKING:
    from lifecycle.apns.client import ApnsClient, send
    from lifecycle.apns.faults import Fault, NoAnswer, Trouble, fault_meaning
    from lifecycle.apns.gateway import Gateway
    from lifecycle.apns.identity import ClientIdentity
    from lifecycle.apns.pace import Ceiling, Pace, SharedPace, Unpaced
    from lifecycle.apns.push import Answer, Push
    from lifecycle.apns.reasons import Meaning, Reason, Who, meaning
    from lifecycle.apns.retry import RetryPolicy
    from lifecycle.apns.token import DeviceToken, PushMagic
    from lifecycle.apns.transport import ApnsTransport
else:
    __getattr__, __dir__ = offer(
        __name__,
        {
            "client": ("ApnsClient", "send"),
            "faults": ("Fault", "NoAnswer", "Trouble", "fault_meaning"),
            "gateway": ("Gateway",),
            "identity": ("ClientIdentity",),
            "pace": ("Ceiling", "Pace", "SharedPace", "Unpaced"),
            "push": ("Answer", "Push"),
            "reasons": ("Meaning", "Reason", "Who", "meaning"),
            "retry": ("RetryPolicy",),
            "token": ("DeviceToken", "PushMagic"),
            "transport": ("ApnsTransport",),
        },
    )

__all__ = [
    "Answer",
    "ApnsClient",
    "ApnsTransport",
    "Ceiling",
    "ClientIdentity",
    "DeviceToken",
    "Fault",
    "Gateway",
    "Meaning",
    "NoAnswer",
    "Pace",
    "Push",
    "PushMagic",
    "Reason",
    "RetryPolicy",
    "SharedPace",
    "Trouble",
    "Unpaced",
    "Who",
    "fault_meaning",
    "meaning",
    "send",
]
