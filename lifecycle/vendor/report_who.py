"""Who owns and who hears: certificates by Apple Account, messages by contact. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from lifecycle.vendor.report import BouncedAddress, ReportRow

MANY = 5
"""From this many certificates on, one Apple Account that is lost is a disaster of its own."""


@dataclass(frozen=True, slots=True)
class Account:
    """One Apple Account (None: not known), and whose certificates it owns.

    ``next_expiry`` is the first of their ends; ``many`` says that it owns unusually many.
    """

    apple_account: str | None
    customers: tuple[str, ...]
    next_expiry: datetime | None
    many: bool


@dataclass(frozen=True, slots=True)
class ContactOf:
    """One address, the customers whose messages it gets, and whether mail to it bounced.

    ``bounced_at`` is since when a mail server refuses it, ``bounced_why`` what the server said.
    """

    address: str
    customers: tuple[str, ...]
    bounced: bool
    bounced_at: datetime | None = None
    bounced_why: str | None = None


@dataclass(frozen=True, slots=True)
class Who:
    """Accounts with the most certificates first, unknown ones before all; then contacts, those
    that bounce before all."""

    accounts: tuple[Account, ...]
    contacts: tuple[ContactOf, ...]


def who(rows: Iterable[ReportRow], bounces: Iterable[BouncedAddress] = ()) -> Who:
    """Groups the rows of a report; ``bounces`` says since when and why an address bounces."""
    said = {bounce.address: bounce for bounce in bounces}
    owned: dict[str | None, list[ReportRow]] = defaultdict(list)
    heard: dict[str, list[ReportRow]] = defaultdict(list)
    refused: set[str] = set()
    for row in rows:
        account = row.apple_account
        owned[None if account is None else account.casefold()].append(row)
        for address in (row.email, *row.contacts):
            heard[address].append(row)
        refused.update(row.bounced)
    accounts = [
        Account(
            of[0].apple_account,
            tuple(sorted(row.slug for row in of)),
            min((row.not_after for row in of if row.not_after is not None), default=None),
            account is not None and len(of) >= MANY,
        )
        for account, of in owned.items()
    ]
    contacts = [
        ContactOf(
            address,
            tuple(sorted({row.slug for row in of})),
            address in refused,
            said[address].at if address in said else None,
            said[address].why if address in said else None,
        )
        for address, of in heard.items()
    ]
    accounts.sort(
        key=lambda one: (
            one.apple_account is not None,
            -len(one.customers),
            one.apple_account or "",
        )
    )
    contacts.sort(key=lambda one: (not one.bounced, -len(one.customers), one.address))
    return Who(tuple(accounts), tuple(contacts))
