"""The one interface through which an instance talks to its vendor."""

from __future__ import annotations

from typing import Protocol

from lifecycle.wire.messages import (
    AnyReport,
    CertificateReceipt,
    CertificateSubmission,
    CsrSubmission,
    Work,
)


class VendorLink(Protocol):
    """An instance's line to the vendor, already tied to one customer.

    Every call is safe to repeat: an implementer must treat a message it has already acted on
    as done and answer as it did before. A caller must not assume that a call which raised
    ``Unavailable`` had no effect: it calls ``work`` again and goes by what that says.
    """

    def work(self) -> Work:
        """What the vendor wants from this instance now. Raises ``Unavailable``."""
        ...

    def submit_csr(self, submission: CsrSubmission) -> None:
        """Hands in a CSR. Raises ``Refused`` (with all findings) or ``Unavailable``."""
        ...

    def submit_certificate(self, submission: CertificateSubmission) -> CertificateReceipt:
        """Hands in a certificate from the portal.

        The vendor records it only if it refuses nothing about it, in one transaction; with
        ``only_check`` it records nothing in any case.
        Raises ``Refused`` (with all findings; nothing was recorded) or ``Unavailable``.
        """
        ...

    def report(self, report: AnyReport) -> None:
        """Reports what happened in the instance, or what a person there wants.

        Raises ``Unavailable``, and ``Refused`` for what this customer may not report.
        """
        ...
