"""Who plays in the year: the customers, and the mistake each of their admins makes."""

from __future__ import annotations

import random
from dataclasses import dataclass
from enum import StrEnum

NAMES = (
    "Acme Corp",
    "Birch & Söhne",
    "Cedar Schools",
    "Delta Clinics",
    "Ember Logistics",
    "Fjord Energi",
    "Garnet Bank",
    "Harbour Hotels",
    "Iris Studio",
    "Juniper Foods",
    "Kestrel Air",
    "Lotus Care",
)


class Mistake(StrEnum):
    """What goes wrong when a customer's admin renews."""

    CREATES = "creates a certificate instead of renewing"
    WRONG_KEY = "renews with another customer's request"
    OLD_FILE = "uploads last year's file"
    FOREIGN_CERTIFICATE = "uploads another customer's certificate"
    WAITS = "waits until the signer has lapsed, then uploads during an outage of APNs"
    SILENT = "never reacts"


@dataclass(frozen=True, slots=True)
class Player:
    """One customer in the play.

    Attributes:
        slug, name, email, apple_account: as in the registry.
        reacts_after: days between the request's mail and the visit to the portal.
        mistakes: made at the first renewal, in this order, each before it is done right.
    """

    slug: str
    name: str
    email: str
    apple_account: str
    reacts_after: int
    mistakes: tuple[Mistake, ...]

    @property
    def silent(self) -> bool:
        """True if this customer never renews."""
        return Mistake.SILENT in self.mistakes


def cast(customers: int, rng: random.Random, *, quiet: bool) -> tuple[Player, ...]:
    """The players, and among them every mistake once (none in a quiet year).

    With a single customer nobody is silent: then nothing would be renewed at all.
    """
    mistakes: list[list[Mistake]] = [[] for _ in range(customers)]
    if not quiet:
        silent = min(4, customers - 1) if customers > 1 else None
        if silent is not None:
            mistakes[silent].append(Mistake.SILENT)
        others = [place for place in range(customers) if place != silent]
        for number, mistake in enumerate(m for m in Mistake if m is not Mistake.SILENT):
            mistakes[others[number % len(others)]].append(mistake)
    return tuple(
        _player(place, tuple(mistakes[place]), rng.randint(1, 3)) for place in range(customers)
    )


def _player(place: int, mistakes: tuple[Mistake, ...], reacts_after: int) -> Player:
    name = NAMES[place] if place < len(NAMES) else f"Customer {place + 1}"
    slug = name.split()[0].lower() if place < len(NAMES) else f"customer-{place + 1}"
    return Player(
        slug,
        name,
        f"it@{slug}.example",
        f"push@{slug}.example",
        reacts_after,
        mistakes,
    )
