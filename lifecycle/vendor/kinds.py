"""The kinds of messages, and whom each is for. Pure, and light to load: reports need it too."""

from __future__ import annotations

from enum import StrEnum

MAIL = "mail"
"""The channel of every message that goes to addresses."""


class Kind(StrEnum):
    """The kinds of messages; each has a template of its name."""

    DELIVERY = "delivery"
    """To the customer: the request, and what to do with it."""
    REMINDER = "reminder"
    """To the customer: the request is still to be taken to the portal."""
    OPS_REMINDER = "ops_reminder"
    """To vendor ops: the time is running, and the customer cannot act."""
    FULFILLED = "fulfilled"
    """To both: the new certificate is active."""
    BREACH = "breach"
    """To vendor ops: an isolation check found a breach."""
    REVOKED = "revoked"
    """To vendor ops: the issuer revoked the active certificate."""
    DIGEST = "digest"
    """To vendor ops: everything that has changed since the day before."""
    TEST = "test"
    """To whom a person names: a test of the channel."""
    SIGNER_EXPIRY = "signer_expiry"
    """To vendor ops: the MDM signing certificate, or a CA above it, ends soon or has ended."""


URGES_CUSTOMER = frozenset({Kind.DELIVERY, Kind.REMINDER})
"""What a customer must read to know that there is something to do."""
TO_CUSTOMERS = URGES_CUSTOMER | {Kind.FULFILLED}
ALERTS = (Kind.BREACH, Kind.REVOKED, Kind.SIGNER_EXPIRY, Kind.OPS_REMINDER, Kind.DIGEST)
"""What goes to vendor ops, and so to their chat channels as well."""
