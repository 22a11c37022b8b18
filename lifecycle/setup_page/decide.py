"""Decides what the page says from what is known: pure, one function, no word of any language.

Everything that ``decide`` gives is a value that the templates have words for; a page that is
wrong in substance is wrong here.
"""

from __future__ import annotations

from datetime import datetime

from lifecycle.language.countdown import days_left
from lifecycle.language.portal import request_filename
from lifecycle.setup_page.facts import (
    Attempt,
    Contact,
    Deed,
    Shown,
    Stage,
    VaultFacts,
    obstacle,
)
from lifecycle.setup_page.situation import (
    Check,
    HeldUp,
    NewTopic,
    Phase,
    PortalRow,
    Situation,
    StepState,
    Urgency,
    Verification,
)
from lifecycle.wire.messages import Standing, Work

SOON = 7
"""From so many days before the end on, the page presses."""
SIGNER_TROUBLES = frozenset({"signer_missing", "signer_expired", "signer_not_yet_valid"})
"""With these the portal would refuse a request that was signed before, too."""
NEW_TOPIC_WANTED = "apple_account_changed"
"""The reason of a renewal whose certificate has a new topic on purpose."""


def decide(
    contact: Contact,
    vault: VaultFacts,
    attempt: Attempt | None,
    now: datetime,
    *,
    downloaded: bool = False,
) -> Situation:
    """What the page says.

    Args:
        contact: how the vendor stands to this instance, as last heard.
        vault: what the instance knows by itself.
        attempt: the deed that this person follows, or one that is running.
        now: the instant.
        downloaded: this request has been downloaded from the page.
    """
    work = contact.work or Work()
    standing = work.standing
    phase = _phase(contact, vault, attempt)
    following = attempt if attempt is not None and _concerns(attempt, phase, vault) else None
    row = _row(work, vault) if phase is Phase.TAKE else None
    new_topic = _new_topic(standing, following, vault)
    return Situation(
        phase=phase,
        now=now,
        urgency=_urgency(vault.active, standing, now),
        vendor=None if standing is None else standing.vendor,
        customer=None if standing is None else standing.customer,
        days=None if vault.active is None else days_left(vault.active.not_after, now),
        steps=_steps(phase, following, fetchable=work.request is not None, downloaded=downloaded),
        progress=_progress(phase, standing, following),
        request_file=_request_file(work) if phase is Phase.TAKE else None,
        row=row,
        can_upload=phase is Phase.TAKE,
        certificate=vault.active,
        devices=vault.devices,
        held_up=_held_up(contact, phase, standing),
        findings=() if following is None or new_topic else following.refusals,
        notes=() if following is None else following.notes,
        brought=None if following is None else following.brought,
        file=None if following is None else following.file,
        new_topic=new_topic,
        verification=_verification(phase, standing, following),
        renewal_opens_at=_opens_at(standing, now),
        finished=following is not None and following.stage is Stage.DONE,
        failed=following is not None and following.stage is Stage.FAILED,
        silent_since=contact.silent_since,
        heard_at=contact.heard_at,
        books_differ=_books_differ(phase, standing, vault),
        attempt=None if following is None else following.number,
        refresh=_refresh(phase, contact),
    )


_BY_STAGE = {
    Stage.TAKING: Phase.TAKING,
    Stage.UNSENT: Phase.UNSENT,
    Stage.VERIFYING: Phase.VERIFYING,
}


def _phase(contact: Contact, vault: VaultFacts, attempt: Attempt | None) -> Phase:
    if attempt is not None and attempt.stage in _BY_STAGE:
        return _BY_STAGE[attempt.stage]
    if contact.refused:
        return Phase.TURNED_AWAY
    if contact.work is None:
        if contact.silent_since is None:
            return Phase.ASKING
        # The vault knows enough for the steps; the request itself came by mail as well.
        return Phase.TAKE if vault.waiting else Phase.UNREACHED
    standing = contact.work.standing
    if standing is None:
        return Phase.NOT_IN_CARE
    if standing.paused:
        return Phase.PAUSED
    if contact.work.received is not None:
        return Phase.ACCEPTED
    return _phase_of_renewal(contact.work, standing, vault)


def _phase_of_renewal(work: Work, standing: Standing, vault: VaultFacts) -> Phase:
    if standing.renewal_id is None:
        return Phase.WITHOUT if vault.active is None else Phase.SETTLED
    blocked = obstacle(standing)
    if blocked is not None and (work.request is None or blocked in SIGNER_TROUBLES):
        return Phase.HELD_UP
    if work.request is not None:
        return Phase.TAKE
    return Phase.PREPARING if standing.renewal_state == "requested" else Phase.SIGNING


def _concerns(attempt: Attempt, phase: Phase, vault: VaultFacts) -> bool:
    """Whether a deed still has to do with what the page is about."""
    match attempt.stage:
        case Stage.REFUSED:
            return phase is Phase.TAKE or attempt.deed is not Deed.UPLOAD
        case Stage.HELD_UP:
            return phase is Phase.ACCEPTED
        case Stage.DONE:
            brought = attempt.brought
            return phase is Phase.SETTLED and (
                brought is None
                or (vault.active is not None and vault.active.fingerprint == brought.fingerprint)
            )
        case _:
            return True


def _urgency(active: Shown | None, standing: Standing | None, now: datetime) -> Urgency:
    if active is None:
        return Urgency.NONE
    if standing is not None and standing.renewal_reason == "revoked":
        return Urgency.REVOKED
    days = days_left(active.not_after, now)
    if days <= 0:
        return Urgency.EXPIRED
    if days == 1:
        return Urgency.LAST_DAY
    return Urgency.SOON if days <= SOON else Urgency.NONE


def _row(work: Work, vault: VaultFacts) -> PortalRow:
    request, active = work.request, vault.active
    if request is None:  # the vendor is not reached: what the vault knows has to do
        if active is None:
            return PortalRow(creates=True)
        return PortalRow(
            creates=False,
            common_name=active.common_name,
            serial=active.serial,
            not_after=active.not_after,
        )
    moves = work.standing is not None and work.standing.renewal_reason == NEW_TOPIC_WANTED
    return PortalRow(
        creates=request.renew_serial is None,
        moves=moves and request.renew_serial is None,
        common_name=request.renew_common_name,
        serial=request.renew_serial,
        not_after=request.renew_not_after,
        apple_account=request.apple_account,
    )


def _request_file(work: Work) -> str | None:
    if work.request is None or work.standing is None:
        return None
    return request_filename(work.standing.slug or "mdm")


def _new_topic(
    standing: Standing | None, attempt: Attempt | None, vault: VaultFacts
) -> NewTopic | None:
    if (
        standing is None
        or standing.renewal_reason != NEW_TOPIC_WANTED
        or attempt is None
        or attempt.brought is None
        or [finding.code for finding in attempt.refusals] != ["topic_changed"]
    ):
        return None
    return NewTopic(attempt.brought.topic, vault.devices)


_STEPS = {
    Phase.PREPARING: (StepState.RUNNING, StepState.LATER, StepState.LATER),
    Phase.SIGNING: (StepState.RUNNING, StepState.LATER, StepState.LATER),
    Phase.HELD_UP: (StepState.STOPPED, StepState.LATER, StepState.LATER),
    Phase.TAKING: (StepState.DONE, StepState.DONE, StepState.RUNNING),
    Phase.UNSENT: (StepState.DONE, StepState.DONE, StepState.RUNNING),
    Phase.ACCEPTED: (StepState.DONE, StepState.DONE, StepState.RUNNING),
    Phase.VERIFYING: (StepState.DONE, StepState.DONE, StepState.RUNNING),
}


def _steps(
    phase: Phase, attempt: Attempt | None, *, fetchable: bool, downloaded: bool
) -> tuple[StepState, StepState, StepState]:
    if phase is Phase.TAKE:
        # Somebody who has brought a file has been to the portal; most go there once more.
        if downloaded or (attempt is not None and attempt.deed is Deed.UPLOAD):
            return (StepState.DONE, StepState.NOW, StepState.NEXT)
        if not fetchable:  # but it came by mail as well
            return (StepState.STOPPED, StepState.NOW, StepState.NEXT)
        return (StepState.NOW, StepState.NEXT, StepState.NEXT)
    if phase is Phase.ACCEPTED and attempt is not None and attempt.stage is Stage.HELD_UP:
        return (StepState.DONE, StepState.DONE, StepState.STOPPED)
    if phase is Phase.SETTLED and attempt is not None and attempt.deed is not Deed.CHECK:
        return (StepState.DONE,) * 3
    if phase is Phase.VERIFYING and attempt is not None and attempt.deed is Deed.CHECK:
        return (StepState.LATER,) * 3
    return _STEPS.get(phase, (StepState.LATER,) * 3)


def _progress(
    phase: Phase, standing: Standing | None, attempt: Attempt | None
) -> tuple[tuple[Check, StepState], ...]:
    done, running = StepState.DONE, StepState.RUNNING
    later, stopped = StepState.LATER, StepState.STOPPED
    match phase:
        case Phase.TAKING:
            states = (running, later, later, later)
        case Phase.UNSENT:
            states = (done, stopped, later, later)
        case Phase.ACCEPTED:
            states = (done, done, stopped if obstacle(standing) else running, later)
        case Phase.VERIFYING:
            states = (done, done, done, running)
        case Phase.SETTLED if attempt is not None:
            isolated = standing is not None and standing.verdict == "isolated"
            clear = isolated and not attempt.unverified
            states = (done, done, done, done if clear else stopped)
        case _:
            return ()
    found = tuple(zip(Check, states, strict=True))
    checks_alone = attempt is not None and attempt.deed is Deed.CHECK
    return found[-1:] if checks_alone else found


def _held_up(contact: Contact, phase: Phase, standing: Standing | None) -> HeldUp | None:
    if phase is Phase.TURNED_AWAY:
        first = contact.refused[0]
        return HeldUp(first.code, str(first))
    shown = (Phase.HELD_UP, Phase.TAKE, Phase.ACCEPTED)
    blocked = obstacle(standing)
    if phase in shown and standing is not None and blocked is not None:
        return HeldUp(blocked, standing.blocked_message or "")
    return None


def _verification(
    phase: Phase, standing: Standing | None, attempt: Attempt | None
) -> Verification | None:
    if standing is None or phase not in (Phase.SETTLED, Phase.PAUSED):
        return None
    unanswered = attempt is not None and attempt.unverified
    return Verification(standing.verdict, standing.verdict_at, unanswered)


def _opens_at(standing: Standing | None, now: datetime) -> datetime | None:
    opens = None if standing is None else standing.renewal_opens_at
    return opens if opens is not None and opens > now else None


def _books_differ(phase: Phase, standing: Standing | None, vault: VaultFacts) -> bool:
    if phase not in (Phase.SETTLED, Phase.TAKE) or standing is None or vault.active is None:
        return False
    return standing.fingerprint is not None and standing.fingerprint != vault.active.fingerprint


_REFRESH = {
    Phase.ASKING: 2,
    Phase.TAKING: 2,
    Phase.VERIFYING: 2,
    Phase.PREPARING: 3,
    Phase.UNSENT: 5,
    Phase.SIGNING: 10,
    Phase.ACCEPTED: 10,
    Phase.UNREACHED: 30,
    Phase.HELD_UP: 60,
}
"""Seconds. Where a person may be choosing a file, the page must not change under their hands."""


def _refresh(phase: Phase, contact: Contact) -> int | None:
    if phase in _REFRESH:
        return _REFRESH[phase]
    unsettled = contact.silent_since is not None and phase is not Phase.TAKE
    return 60 if unsettled else None
