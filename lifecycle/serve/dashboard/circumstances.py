"""Reads what the offers of actions depend on."""

from __future__ import annotations

from dataclasses import replace

from sqlmodel import Session, col, select

from lifecycle.correspondence import configured_quiet_hours
from lifecycle.serve.dashboard.offer import Circumstances
from lifecycle.serve.dashboard.visit import Visit
from lifecycle.vendor import credentials, invitations, store
from lifecycle.vendor.dry_run import explain_one
from lifecycle.vendor.models import OutboxMessage
from lifecycle.vendor.reminding import last_by_hand
from lifecycle.vendor.reporting import rows_of
from lifecycle.vendor.store import CustomerRecord


def circumstances(visit: Visit, session: Session, record: CustomerRecord) -> Circumstances:
    """Of one customer, at the time of the visit."""
    customer, config, now = record.customer, visit.config, visit.now
    (row,) = rows_of(session, [record], visit.served.policy, now)
    quiet = configured_quiet_hours(config)
    return Circumstances(
        record=record,
        now=now,
        to=tuple(dict.fromkeys((customer.email, *row.contacts))),
        credentials=len(credentials.living(session, customer)),
        invitation=invitations.open_invitation(session, customer, now),
        last_message=_last_message(session, record),
        by_hand=last_by_hand(session, record, now),
        owed=_owed(visit, record),
        quiet_until=None if quiet is None else quiet.until(now),
        mail=config.smtp.host is not None,
        invitation_days=config.serve.invitation_days,
        poll_seconds=config.serve.poll_seconds,
        distributed=config.vendor.instances == "distributed",
    )


def _last_message(session: Session, record: CustomerRecord) -> OutboxMessage | None:
    return session.exec(
        select(OutboxMessage)
        .where(
            OutboxMessage.customer_id == store.key_of(record.customer),
            OutboxMessage.channel == "mail",
            col(OutboxMessage.kind).in_(["delivery", "reminder", "fulfilled"]),
        )
        .order_by(col(OutboxMessage.id).desc())
        .limit(1)
    ).first()


def _owed(visit: Visit, record: CustomerRecord) -> str:
    """What would be owed at once if the customer were not paused."""
    awake = replace(record.facts, paused=False, paused_until=None)
    said = explain_one(awake, visit.served.policy, visit.now)
    return said.why if said.owed is None else f"{said.owed.replace(':', ' ')}, {said.why}"
