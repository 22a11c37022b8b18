"""The link of the embedded deployment: both planes in one process, the boundary kept.

Every message is turned into the bytes that would travel and parsed again on the other side,
so nothing can cross that the schema has no room for, and a tap sees exactly what a network
would see.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from lifecycle.wire.link import VendorLink
from lifecycle.wire.messages import (
    AnyReport,
    CertificateReceipt,
    CertificateSubmission,
    CsrSubmission,
    Message,
    Work,
)

M = TypeVar("M", bound=Message)


class MemoryLink:
    """A ``VendorLink`` over another one, through serialised bytes.

    Args:
        desk: the vendor's side, already tied to the customer that this link speaks for.
        tap: called with the bytes of every message in both directions (tests search them).
    """

    def __init__(self, desk: VendorLink, tap: Callable[[bytes], None] | None = None) -> None:
        self._desk = desk
        self._tap = tap

    def work(self) -> Work:
        """See ``VendorLink.work``."""
        return self._cross(self._desk.work())

    def submit_csr(self, submission: CsrSubmission) -> None:
        """See ``VendorLink.submit_csr``."""
        self._desk.submit_csr(self._cross(submission))

    def submit_certificate(self, submission: CertificateSubmission) -> CertificateReceipt:
        """See ``VendorLink.submit_certificate``."""
        return self._cross(self._desk.submit_certificate(self._cross(submission)))

    def report(self, report: AnyReport) -> None:
        """See ``VendorLink.report``."""
        self._desk.report(self._cross(report))

    def _cross(self, message: M) -> M:
        travelling = message.model_dump_json().encode()
        if self._tap is not None:
            self._tap(travelling)
        return type(message).model_validate_json(travelling)
