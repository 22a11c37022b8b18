"""What an operator can do about a customer, and exactly what each of it will do. Pure.

A confirmation page shows an offer; the form on it carries out ``Action`` and nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

from lifecycle.serve.dashboard import care_offers, renewal_offers
from lifecycle.serve.dashboard.offer import Action, Circumstances, Offer

_OFFERS: Mapping[Action, Callable[[Circumstances], Offer]] = MappingProxyType(
    {
        Action.RENEW: renewal_offers.renew,
        Action.REMIND: renewal_offers.remind,
        Action.CHECK: renewal_offers.check,
        Action.PAUSE: care_offers.pause,
        Action.RESUME: care_offers.resume,
        Action.INVITE: care_offers.invite,
        Action.WITHDRAW: care_offers.withdraw,
        Action.REVOKE: care_offers.revoke,
    }
)


def offer(action: Action, given: Circumstances) -> Offer:
    """The action as it would be now."""
    return _OFFERS[action](given)


def possible(given: Circumstances) -> tuple[Offer, ...]:
    """Everything that can be done now, in the order of ``Action``."""
    made = (offer(action, given) for action in Action)
    return tuple(one for one in made if one.obstacle is None)
