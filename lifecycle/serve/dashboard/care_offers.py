"""Offers about the care for a customer and about their instance. Pure."""

from __future__ import annotations

from lifecycle.errors import Finding
from lifecycle.serve.dashboard.offer import NOTED, Action, Circumstances, Offer, gone, people


def pause(given: Circumstances) -> Offer:
    """Stops the care for a customer."""
    record = given.record
    customer, active = record.customer, record.active
    happens = (
        f"From now on nothing is done for {customer.name}: no renewal is opened or goes on, nobody"
        " is reminded, isolation and revocation are not checked.",
        "A message that waits to be sent to them waits for the end of the pause, or is decided on"
        " anew then.",
        "It ends by itself at 00:00 UTC of the day that you give; without one, when somebody takes"
        " the customer up again.",
        "Nobody gets a mail.",
        NOTED,
    )
    untouched = (
        "Nothing ends."
        if active is None
        else f"The certificate ends on {active.not_after:%Y-%m-%d}, pause or no pause.",
        "The instance goes on pushing to its devices.",
    )
    paused = customer.paused_at is not None
    return Offer(
        Action.PAUSE,
        f"Change the pause of {customer.name}" if paused else f"Pause {customer.name}",
        "Change the pause" if paused else "Pause",
        happens,
        untouched,
        gone(given),
    )


def resume(given: Circumstances) -> Offer:
    """Takes a paused customer up again."""
    customer = given.record.customer
    happens = (
        f"The care for {customer.name} is taken up again.",
        f"At the next tick, within a minute or so, what is owed by then is done: {given.owed}.",
        f"A request that waited for the end of the pause goes to {people(given.to)}.",
        NOTED,
    )
    not_paused = Finding(
        "customer_not_paused",
        f"{customer.name} is not paused.",
        "See the timeline for what is done and when.",
    )
    return Offer(
        Action.RESUME,
        f"Take {customer.name} up again",
        "Take up again",
        happens,
        ("Rungs of the reminder ladder that were missed are not made up for.",),
        gone(given) or (not_paused if customer.paused_at is None else None),
    )


def invite(given: Circumstances) -> Offer:
    """Makes a one-time code for the instance."""
    customer = given.record.customer
    happens = [
        "A one-time code is made and shown on the next page, once. It is kept nowhere.",
        f"It is good for {given.invitation_days} days and for one instance.",
    ]
    if given.invitation is not None:
        happens.append(
            f"The code that {_plain_actor(given.invitation.created_by)} made on"
            f" {given.invitation.created_at:%Y-%m-%d} and that nobody has used is good no longer."
        )
    happens += [
        "When the code is used, the instance that asks over the network now is shut out."
        if given.credentials
        else "When the code is used, the customer's instance asks over the network from then on.",
        "Nobody gets a mail: hand the code over yourself, by a way that you trust.",
        NOTED,
    ]
    return Offer(
        Action.INVITE,
        f"Invite the instance of {customer.name}",
        "Make the code",
        tuple(happens),
        ("Until the code is used: everything.",),
        gone(given),
    )


def _plain_actor(actor: str) -> str:
    return actor.partition(":")[2] or actor


def withdraw(given: Circumstances) -> Offer:
    """Takes an invitation back."""
    none_open = Finding(
        "no_open_invitation",
        f"{given.record.customer.name} has no open invitation.",
        "Nothing needs to be done.",
    )
    return Offer(
        Action.WITHDRAW,
        f"Withdraw the invitation of {given.record.customer.name}",
        "Withdraw",
        (
            "The code that was made and not used is good no longer.",
            NOTED,
        ),
        ("An instance that is enrolled already.",),
        none_open if given.invitation is None else None,
    )


def revoke(given: Circumstances) -> Offer:
    """Shuts the instance out."""
    customer = given.record.customer
    nobody = Finding(
        "no_instance",
        f"No instance of {customer.name} asks over the network.",
        "Nothing needs to be done.",
    )
    return Offer(
        Action.REVOKE,
        f"Shut out the instance of {customer.name}",
        "Shut it out",
        (
            "From now on the vendor answers this instance no longer: it gets no request, and its"
            " CSRs, certificates and evidence are not taken.",
            "Canary tokens that were sealed for it are deleted.",
            "It cannot be taken back: the instance needs a new invitation to return.",
            "Nobody gets a mail.",
            NOTED,
        ),
        (
            "The private key and certificate in its vault; its devices go on getting pushes.",
            "Renewal and reminders go on; a renewal waits where it needs the instance.",
        ),
        nobody if not given.credentials else None,
        grave=True,
    )
