"""What is known when the page is asked for: the vault, the line to the vendor, a person's deed."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Self

from lifecycle.errors import Finding
from lifecycle.instance.vault import Vault
from lifecycle.language.markup import clean
from lifecycle.pki.push_certificate import PushCertificate
from lifecycle.wire.messages import Standing, Work


@dataclass(frozen=True, slots=True)
class Shown:
    """A push certificate, as far as a page shows it.

    Attributes:
        common_name, serial, not_before, not_after, topic: as in the certificate.
        fingerprint: SHA-256 of the whole certificate.
    """

    common_name: str
    serial: str
    not_before: datetime
    not_after: datetime
    topic: str
    fingerprint: str

    @classmethod
    def of(cls, certificate: PushCertificate) -> Self:
        """What a page shows of ``certificate``."""
        return cls(
            common_name=clean(certificate.common_name),
            serial=certificate.serial,
            not_before=certificate.not_before,
            not_after=certificate.not_after,
            topic=str(certificate.topic),
            fingerprint=certificate.fingerprint,
        )


@dataclass(frozen=True, slots=True)
class VaultFacts:
    """What the instance knows without the vendor.

    Attributes:
        active: the certificate that pushes are made with.
        waiting: a key of the instance waits for its certificate.
        devices: how many devices the instance knows that are not gone.
    """

    active: Shown | None = None
    waiting: bool = False
    devices: int = 0


def facts_of(vault: Vault) -> VaultFacts:
    """Reads the facts. Raises ``Refused`` when the vault cannot be used."""
    held = vault.active()
    return VaultFacts(
        active=None if held is None else Shown.of(held.certificate),
        waiting=bool(vault.keys.pending_fingerprints()),
        devices=sum(device.gone_at is None for device in vault.devices.all()),
    )


ABSENCE = frozenset({"instance_silent", "instance_not_enrolled"})
"""What holds a renewal up that waits for an instance which does not ask. This one has asked."""


def obstacle(standing: Standing | None) -> str | None:
    """Why the open renewal cannot go on, now that the instance has asked; None: it can."""
    if standing is None or standing.blocked_code in ABSENCE:
        return None
    return standing.blocked_code


@dataclass(frozen=True, slots=True)
class Contact:
    """How it went when the vendor was asked last.

    Attributes:
        work: its last answer, of whatever age; None while there has been none.
        heard_at: when that came.
        silent_since: when it was first asked without an answer since then; None: it answers.
        refused: why the vendor, or the vault, turns this instance away; empty: it does not.
    """

    work: Work | None = None
    heard_at: datetime | None = None
    silent_since: datetime | None = None
    refused: tuple[Finding, ...] = ()


class Deed(StrEnum):
    """What a person can have done from the page."""

    UPLOAD = "upload"
    """Bring a certificate from the portal."""
    AGAIN = "again"
    """Try once more what could not be done."""
    CHECK = "check"
    """Have the isolation checked now."""


class Stage(StrEnum):
    """How far a deed is."""

    TAKING = "taking"
    """The file is checked, handed in and tried; or what waits is tried again."""
    UNSENT = "unsent"
    """Nothing is wrong with the file here, and the vendor is not reached; tried again."""
    REFUSED = "refused"
    """The file cannot be used; nothing was changed."""
    HELD_UP = "held_up"
    """The vendor has recorded the certificate, and it cannot be activated yet."""
    VERIFYING = "verifying"
    """It is active; probes are made."""
    DONE = "done"
    """There is nothing more to do."""
    FAILED = "failed"
    """A fault of our own kept it from being done."""


RUNNING = frozenset({Stage.TAKING, Stage.UNSENT, Stage.VERIFYING})
"""Stages that end by themselves."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """One deed of a person's, and how far it is.

    Attributes:
        number: names it in an address; says nothing about the person.
        deed, stage, began_at: see there.
        file: what the person's file is called; None if no file was brought.
        brought: the certificate in it, if there is one.
        findings: what is wrong with it, and notes.
        unverified: the probes could not be made, or their verdict not be asked for.
    """

    number: str
    deed: Deed
    stage: Stage
    began_at: datetime
    file: str | None = None
    brought: Shown | None = None
    findings: tuple[Finding, ...] = ()
    unverified: bool = False

    def noting(self, findings: tuple[Finding, ...]) -> Attempt:
        """The same, with findings that it does not have yet."""
        known = {finding.code for finding in self.findings}
        more = (finding for finding in findings if finding.code not in known)
        return replace(self, findings=(*self.findings, *more))

    @property
    def refusals(self) -> tuple[Finding, ...]:
        """What makes the file unusable."""
        return tuple(finding for finding in self.findings if finding.refuses)

    @property
    def notes(self) -> tuple[Finding, ...]:
        """What the person should know about a file that is used all the same."""
        return tuple(finding for finding in self.findings if not finding.refuses)
