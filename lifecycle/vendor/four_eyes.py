"""Four-eyes signing: who stands behind a signature, and who may still step up. Pure.

A request is signed once two people stand behind it. The first is the operator who asked for the
renewal, or, where the planner opened it, the first one who approves; the second is always somebody
else, who approves the very CSR that is signed. See docs/hsm.md.
"""

from __future__ import annotations

from collections.abc import Sequence

from lifecycle.errors import Finding

SIGNING_UNAPPROVED = "signing_unapproved"
PEOPLE = 2


def person_of(actor: str | None) -> str | None:
    """The person behind an actor of the audit log; None for the worker, an instance, nobody.

    ``operator:anna`` (the command line) and ``user:anna@example.com`` (the dashboard) count as one
    person: taking two people for one costs a third one's glance, the other way round all of it.
    """
    kind, _, name = (actor or "").partition(":")
    if kind not in ("operator", "user") or not name:
        return None
    return name.partition("@")[0].casefold() or name.casefold()


def people_behind(opened_by: str | None, approved_by: Sequence[str]) -> tuple[str, ...]:
    """The different people who asked for the signature or approved it, in that order."""
    found = (person_of(actor) for actor in (opened_by, *approved_by))
    return tuple(dict.fromkeys(person for person in found if person is not None))


def is_approved(opened_by: str | None, approved_by: Sequence[str]) -> bool:
    """Whether the CSR may be signed where four eyes are wanted."""
    return len(people_behind(opened_by, approved_by)) >= PEOPLE


def who_must_act(renewal_id: int, opened_by: str | None, approved_by: Sequence[str]) -> str:
    """What the renewal waits for, as a sentence for vendor ops."""
    behind = people_behind(opened_by, approved_by)
    if behind:
        who = f"A second operator, not {behind[0]},"
    else:
        who = "Two operators, one after the other,"
    return f"{who} must approve the signature: `pushcert sign --approve {renewal_id}`."


def obstacle_to_approving(
    actor: str, opened_by: str | None, approved_by: Sequence[str]
) -> Finding | None:
    """Why this actor cannot be the next one to approve; None: they can."""
    person = person_of(actor)
    if person is None:
        return Finding(
            "approval_by_nobody",
            f"“{actor}” is no person who could approve a signature.",
            "Approve it under the name of an operator.",
        )
    if person in people_behind(opened_by, approved_by):
        did = "asked for this renewal" if person == person_of(opened_by) else "approved it already"
        return Finding(
            "approval_same_person",
            f"{person} {did}; the approval must be somebody else's.",
            "Have another operator look at it: `pushcert sign --pending` says what to look at.",
        )
    return None
