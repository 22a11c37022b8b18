"""What an agent did, as values: for the command line, the timeline and the tests."""

from __future__ import annotations

from dataclasses import dataclass

from lifecycle.errors import Finding
from lifecycle.pki.push_certificate import PushCertificate
from lifecycle.wire.messages import Setback


@dataclass(frozen=True, slots=True)
class Done:
    """One thing that was done.

    Attributes:
        what: ``csr_sent``, ``keys_retired``, ``own_push``, ``activated``,
            ``activation_reported``, ``evidence_sent``, ``canary_sealed``; of a deploy
            target ``deployed``, ``verified``, ``deploy_failed``, ``removed``.
        sentence: the same for a person.
        renewal_id: the renewal it was for, if any.
    """

    what: str
    sentence: str
    renewal_id: int | None = None


@dataclass(frozen=True, slots=True)
class StepOutcome:
    """What one step did.

    Attributes:
        done: in the order it was done; empty when nothing was owed.
        setback: why a renewal could not go on just now, as reported to the vendor.
        refusals: what the vendor, or the vault, refused about a CSR.
        ask_again_seconds: when the vendor wants to be asked again; None: it does not say.
    """

    done: tuple[Done, ...] = ()
    setback: Setback | None = None
    refusals: tuple[Finding, ...] = ()
    ask_again_seconds: int | None = None

    @property
    def codes(self) -> tuple[str, ...]:
        """``what`` of everything that was done."""
        return tuple(done.what for done in self.done)


@dataclass(frozen=True, slots=True)
class UploadOutcome:
    """What became of an accepted upload.

    Attributes:
        certificate: the certificate in the file.
        renewal_id: the renewal it completes.
        notes: what the person should know, e.g. that a private key was pasted into the file.
        done: what was done, in order.
        setback: why it is not active yet; None if it is.
    """

    certificate: PushCertificate
    renewal_id: int
    notes: tuple[Finding, ...]
    done: tuple[Done, ...]
    setback: Setback | None

    @property
    def activated(self) -> bool:
        """True if the instance now pushes with the certificate."""
        return self.setback is None


@dataclass(frozen=True, slots=True)
class Verification:
    """The outcome of one customer's isolation check.

    Attributes:
        slug: the customer; empty where the instance does not know it.
        verdict: as the vendor judged; None if no check was made, or it is not judged yet.
        why: a sentence.
        failed: a check should have been made and could not be.
    """

    slug: str
    verdict: str | None
    why: str
    failed: bool = False
