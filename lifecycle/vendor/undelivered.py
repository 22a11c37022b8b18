"""Messages that did not get through: why a row of the outbox ended without being sent."""

from __future__ import annotations

from collections.abc import Sequence

from sqlmodel import Session, col, or_, select

from lifecycle.vendor.models import OutboxMessage

RENEWAL_ENDED = "renewal ended"
CUSTOMER_PAUSED = "customer paused"
CUSTOMER_GONE = "customer off-boarded"
SUPERSEDED = "a later message takes its place"
IN_DIGEST = "told in the digest"
NOTHING_TO_TELL = "nothing to tell"
CHANNEL_GONE = "the channel is no longer configured"
WITHDRAWALS = frozenset(
    {
        RENEWAL_ENDED,
        CUSTOMER_PAUSED,
        CUSTOMER_GONE,
        SUPERSEDED,
        IN_DIGEST,
        NOTHING_TO_TELL,
        CHANNEL_GONE,
    }
)
"""Why a row was given up although nothing failed; what ``last_error`` says then."""


def failing(session: Session) -> Sequence[OutboxMessage]:
    """Rows that somebody should look into, oldest first.

    Those that failed and are tried again, and those given up after a failure as long as no
    later message has reached the same addresses.
    """
    rows = session.exec(
        select(OutboxMessage)
        .where(
            col(OutboxMessage.sent_at).is_(None),
            OutboxMessage.attempts > 0,
            or_(
                col(OutboxMessage.last_error).is_(None),
                col(OutboxMessage.last_error).not_in(WITHDRAWALS),
            ),
        )
        .order_by(col(OutboxMessage.id))
    ).all()
    return [row for row in rows if row.given_up_at is None or not _reached_since(session, row)]


def _reached_since(session: Session, row: OutboxMessage) -> bool:
    later = session.exec(
        select(OutboxMessage.recipients).where(
            col(OutboxMessage.id) > row.id,
            col(OutboxMessage.sent_at).is_not(None),
            col(OutboxMessage.customer_id).is_not_distinct_from(row.customer_id),
        )
    )
    return any(recipients == row.recipients for recipients in later)
