"""Tokens with which calendar programs read the feed of expiries; revocable one by one.

A calendar program can do no more than fetch an address, so the token is part of it: whoever has
the address reads who the customers are and when their certificates end, and nothing else. The
registry keeps its hash; the address is shown once.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Sequence
from datetime import datetime, timedelta

from sqlmodel import Session, col, select

from lifecycle.errors import refuse
from lifecycle.vendor import audit
from lifecycle.vendor.access_models import FeedToken

MAX_LABEL = 200
USED_EVERY = timedelta(hours=1)
"""``used_at`` is as exact as this: reading must not mean writing."""


def add(session: Session, label: str, *, at: datetime, actor: str) -> str:
    """Makes a token and gives it; it is not to be had again.

    Raises:
        Refused: ``label_missing``.
    """
    if not label.strip() or len(label) > MAX_LABEL:
        raise refuse(
            "label_missing",
            "The label is empty or too long.",
            f"Say in 1 to {MAX_LABEL} letters whose calendar it is for.",
        )
    token = secrets.token_urlsafe(24)
    row = FeedToken(token_hash=_hash(token), label=label.strip(), created_at=at, created_by=actor)
    session.add(row)
    session.flush()
    _audit(session, row, "feed_added", at, actor)
    return token


def all_feeds(session: Session) -> Sequence[FeedToken]:
    """Every feed, also those that were revoked; oldest first."""
    return session.exec(select(FeedToken).order_by(col(FeedToken.id))).all()


def revoke(session: Session, feed_id: int, *, at: datetime, actor: str) -> bool:
    """Makes the feed's address good for nothing; True if it was good.

    Raises:
        Refused: ``feed_unknown``.
    """
    row = session.get(FeedToken, feed_id)
    if row is None:
        raise refuse(
            "feed_unknown",
            f"There is no calendar feed {feed_id}.",
            "See `pushcert feed list` for the numbers.",
        )
    if row.revoked_at is not None:
        return False
    row.revoked_at = at
    session.add(row)
    _audit(session, row, "feed_revoked", at, actor)
    return True


def feed_of(session: Session, token: str) -> FeedToken | None:
    """The feed whose token this is; None for a token that is good for nothing."""
    return session.exec(
        select(FeedToken).where(
            FeedToken.token_hash == _hash(token), col(FeedToken.revoked_at).is_(None)
        )
    ).first()


def use_is_news(feed: FeedToken, now: datetime) -> bool:
    """Whether the last use was long enough ago to be noted anew."""
    return feed.used_at is None or now - feed.used_at >= USED_EVERY


def note_use(session: Session, feed_id: int | None, now: datetime) -> None:
    """Notes that the feed was read."""
    row = session.get_one(FeedToken, feed_id)
    row.used_at = now
    session.add(row)


def _hash(token: str) -> str:
    # 192 random bits need no slow hash.
    return hashlib.sha256(token.encode()).hexdigest()


def _audit(session: Session, row: FeedToken, action: str, at: datetime, actor: str) -> None:
    audit.append(
        session,
        at=at,
        actor=actor,
        action=action,
        subject=f"feed {row.id}",
        detail={"label": row.label},
    )
