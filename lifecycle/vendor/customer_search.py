"""Finds customers by words, status and what they wait for, a page at a time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlmodel
from sqlalchemy import ColumnElement, and_, exists, func, or_, select
from sqlmodel import Session, col

from lifecycle.vendor import report_page, store
from lifecycle.vendor.customer_standing import Standing, standing
from lifecycle.vendor.facts import Policy, Status, Verdict
from lifecycle.vendor.models import Certificate, Contact, Customer, CustomerTag
from lifecycle.vendor.report import Acts, ReportRow
from lifecycle.vendor.reporting import rows_of

PAGE = 50
FROM_THE_TOP = 100
"""Pages of everybody, most urgent first, that are read from the top."""
MOST_WORDS = 8
"""Of a search; more words find nothing that fewer do not."""

TROUBLES = ("held", "breached", "inconclusive", "unproven", "silent", "without")
"""What one can look for besides a status; see ``Standing`` for each."""
ORDERS = ("urgency", "expiry", "name", "slug")


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is looked for; empty: whatever.

    Attributes:
        words: each must be in the name, slug, an address, the Apple Account, or the topic or
            serial of a certificate, now or before.
        status, acts, tag: exactly this.
        trouble: one of ``TROUBLES``.
        order: one of ``ORDERS``.
        page: from 1 on.
    """

    words: str = ""
    status: str = ""
    acts: str = ""
    tag: str = ""
    trouble: str = ""
    order: str = "urgency"
    page: int = 1


@dataclass(frozen=True, slots=True)
class FoundPage:
    """One page of what was found.

    Attributes:
        total: how many fit, on all pages.
        page, pages: this one, and how many there are; one, if nothing was found.
    """

    rows: tuple[ReportRow, ...]
    total: int
    page: int
    pages: int

    @property
    def first(self) -> int:
        """Number of the first row among all that fit; 0 when there are none."""
        return (self.page - 1) * PAGE + 1 if self.rows else 0

    @property
    def last(self) -> int:
        """Number of the last row on this page."""
        return (self.page - 1) * PAGE + len(self.rows)


def find(session: Session, wanted: Wanted, policy: Policy, now: datetime) -> FoundPage:
    """The customers in care that fit, on one page; past the end, the last page.

    Args:
        now: aware UTC; statuses are those of this instant.
    """
    if wanted == Wanted(page=wanted.page) and wanted.page <= FROM_THE_TOP:
        return _most_urgent(session, wanted.page, policy, now)
    at = standing(session, policy, now)
    conditions = tuple(_conditions(wanted, at))
    total = int(session.execute(at.select(func.count()).where(*conditions)).scalar_one())
    page, pages = _place(wanted.page, total)
    found = session.execute(
        at.select(col(Customer.id))
        .where(*conditions)
        .order_by(*_order(wanted.order, at))
        .limit(PAGE)
        .offset((page - 1) * PAGE)
    )
    return FoundPage(rows(session, [key for (key,) in found], policy, now), total, page, pages)


def _place(page: int, total: int) -> tuple[int, int]:
    """Which page is shown when ``page`` is asked for, and how many there are."""
    pages = max(1, -(-total // PAGE))
    return min(max(1, page), pages), pages


def _most_urgent(session: Session, page: int, policy: Policy, now: datetime) -> FoundPage:
    """One of the first pages of everybody, which nobody else needs to be looked at for."""
    everybody, gone = (
        int(session.execute(select(func.count()).select_from(Customer).where(*which)).scalar_one())
        for which in ((), (col(Customer.offboarded_at).is_not(None),))
    )
    total = everybody - gone
    page, pages = _place(page, total)
    found = report_page.page(session, policy, now, limit=PAGE, skip=(page - 1) * PAGE)
    return FoundPage(found, total, page, pages)


def rows(session: Session, ids: list[int], policy: Policy, now: datetime) -> tuple[ReportRow, ...]:
    """The report's rows of customers by their keys, in that order."""
    found = session.exec(sqlmodel.select(Customer).where(col(Customer.id).in_(ids)))
    known = {customer.id: customer for customer in found}
    records = store.load_many(session, [known[key] for key in ids])
    return tuple(rows_of(session, records, policy, now))


def tags(session: Session) -> list[str]:
    """Every tag that a customer has, sorted."""
    found = session.execute(select(col(CustomerTag.tag)).distinct().order_by(col(CustomerTag.tag)))
    return [tag for (tag,) in found]


def _conditions(wanted: Wanted, at: Standing) -> Iterator[ColumnElement[bool]]:
    for word in wanted.words.split()[:MOST_WORDS]:
        yield _has(word)
    if wanted.status in set(Status):
        yield at.status == wanted.status
    if wanted.acts in set(Acts):
        yield at.acts == wanted.acts
    if wanted.tag:
        worn = and_(col(CustomerTag.customer_id) == Customer.id, col(CustomerTag.tag) == wanted.tag)
        yield exists().where(worn)
    match wanted.trouble:
        case "held":
            yield at.held
        case "breached":
            yield at.verdict == Verdict.BREACHED
        case "inconclusive":
            yield at.verdict == Verdict.INCONCLUSIVE
        case "unproven":
            yield at.to_be_proven
        case "silent":
            yield at.silent
        case "without":
            yield at.without_instance


def _has(word: str) -> ColumnElement[bool]:
    # SQLite knows capitals of ASCII alone; so the word is looked for as it may be written.
    spellings = dict.fromkeys((word, word.lower(), word.upper(), word.title()))
    certificate = exists().where(
        col(Certificate.customer_id) == Customer.id,
        or_(
            col(Certificate.topic).icontains(word, autoescape=True),
            col(Certificate.serial).icontains(word, autoescape=True),
        ),
    )
    contact = exists().where(
        col(Contact.customer_id) == Customer.id,
        col(Contact.address).icontains(word, autoescape=True),
    )
    return or_(
        *(col(Customer.name).icontains(said, autoescape=True) for said in spellings),
        col(Customer.slug).icontains(word, autoescape=True),
        col(Customer.email).icontains(word, autoescape=True),
        col(Customer.apple_account).icontains(word, autoescape=True),
        contact,
        certificate,
    )


def _order(order: str, at: Standing) -> tuple[Any, ...]:
    match order:
        case "expiry":
            return at.expiry
        case "name":
            return (func.lower(Customer.name), Customer.slug)
        case "slug":
            return (Customer.slug,)
        case _:
            return at.urgency
