"""Too many wrong passwords close the door for a while: for a name, and for an address.

An attempt is booked before the password is looked at and taken back when it was right, so that
many at the same time, at any number of ``serve`` processes, are no way round the limit.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from ipaddress import IPv6Address, ip_address, ip_network

from sqlmodel import Session, col, delete, func, select

from lifecycle.vendor import audit
from lifecycle.vendor.access_models import FailedSignIn

WINDOW = timedelta(minutes=15)
BY_NAME = 5
"""Wrong passwords for one name within the window."""
BY_ADDRESS = 20
"""Wrong passwords from one address within the window, whatever the names."""
KEPT = timedelta(days=1)
_V6_SITE = 64
"""Whoever has one IPv6 address has the whole /64."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """An attempt that is booked; its password may be looked at."""

    id: int
    name: str
    address: str


@dataclass(frozen=True, slots=True)
class Closed:
    """No password is looked at before ``until``."""

    until: datetime


def site_of(address: str) -> str:
    """What is counted as one address: an IPv4 address, an IPv6 network of a site."""
    try:
        found = ip_address(address)
    except ValueError:
        return address[:64]
    if isinstance(found, IPv6Address):
        if found.ipv4_mapped is not None:
            return str(found.ipv4_mapped)
        return str(ip_network((found, _V6_SITE), strict=False))
    return str(found)


def book(session: Session, name: str, address: str, now: datetime) -> Attempt | Closed:
    """Books an attempt, unless there have been too many.

    Args:
        name: as it was typed; it need not be anybody's.
        address: the client's.
    """
    name, site = name[:128], site_of(address)
    ends = [
        _closed_until(session, col(FailedSignIn.name) == name, BY_NAME, now),
        _closed_until(session, col(FailedSignIn.address) == site, BY_ADDRESS, now),
    ]
    until = max((end for end in ends if end is not None), default=None)
    if until is not None:
        return Closed(until)
    session.exec(delete(FailedSignIn).where(col(FailedSignIn.at) < now - KEPT))
    row = FailedSignIn(name=name, address=site, at=now)
    session.add(row)
    session.flush()
    if row.id is None:
        raise ValueError("the attempt has not been stored")
    return Attempt(row.id, name, site)


def succeeded(session: Session, attempt: Attempt) -> None:
    """The password was right: what was booked under the name is forgotten."""
    session.exec(delete(FailedSignIn).where(col(FailedSignIn.name) == attempt.name))


def failed(session: Session, attempt: Attempt, *, at: datetime) -> None:
    """The password was wrong; the one that closes the door is an entry of the audit log."""
    of_name = _count(session, col(FailedSignIn.name) == attempt.name, at)
    of_address = _count(session, col(FailedSignIn.address) == attempt.address, at)
    if of_name == BY_NAME or of_address == BY_ADDRESS:
        audit.append(
            session,
            at=at,
            actor=f"address:{attempt.address}",
            action="sign_in_closed",
            subject=f"user:{attempt.name}",
            detail={
                "failed_for_name": of_name,
                "failed_from_address": of_address,
                "minutes": int(WINDOW.total_seconds()) // 60,
            },
        )


def _closed_until(session: Session, same: object, limit: int, now: datetime) -> datetime | None:
    """When the oldest of the last ``limit`` failures is out of the window; None: it is."""
    times = session.exec(
        select(FailedSignIn.at)
        .where(same, col(FailedSignIn.at) > now - WINDOW)  # type: ignore[arg-type]
        .order_by(col(FailedSignIn.at).desc())
        .limit(limit)
    ).all()
    return times[-1] + WINDOW if len(times) == limit else None


def _count(session: Session, same: object, now: datetime) -> int:
    return session.exec(
        select(func.count())
        .select_from(FailedSignIn)
        .where(same, col(FailedSignIn.at) > now - WINDOW)  # type: ignore[arg-type]
    ).one()
