"""Signs what waits for it at many customers in one go: one look, one signing, one transaction.

A signature takes a quarter of a millisecond, a transaction for each customer several. Whether a CSR
is to be signed is decided by the planner's own rule, twice: before signing, and again in the
transaction that stores the request, because no lock is held while the key works (a token may take
its time). Whatever does not go through here, the worker does one customer at a time.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Row,
    Text,
    bindparam,
    cast,
    exists,
    literal_column,
    null,
    select,
    type_coerce,
    update,
)
from sqlalchemy.types import NullType
from sqlmodel import Session, col

from lifecycle.errors import PushcertError, Refused
from lifecycle.pki.fingerprints import fingerprint
from lifecycle.vendor import audit, store
from lifecycle.vendor.database import Database
from lifecycle.vendor.facts import (
    CustomerFacts,
    Policy,
    RenewalFacts,
    RenewalReason,
    RenewalState,
    SignerFacts,
)
from lifecycle.vendor.models import Certificate, Customer, Renewal
from lifecycle.vendor.plan import owes_signature
from lifecycle.vendor.signer import RequestSigner, SignedCsr

_OF_NOBODY = (None, "[]", "null")
"""Approvals as the database keeps none."""
WAIT_FOR_IT = (RenewalState.CSR_RECEIVED, RenewalState.SIGNED, RenewalState.DELIVERED)
"""States in which a renewal's CSR may have to be signed, for the first time or again."""


@dataclass(frozen=True, slots=True)
class _Waiting:
    """A CSR that is to be signed now."""

    renewal_id: int
    slug: str
    csr: bytes
    approved_by: tuple[str, ...]
    seen: tuple[Row[Any], SignerFacts]
    """What the planner's rule was asked about."""


def sign_waiting(
    database: Database,
    signer: RequestSigner,
    policy: Policy,
    customers: Sequence[int],
    now: datetime,
    *,
    actor: str,
) -> int:
    """Signs for those of the customers whose CSR is to be signed now; gives how many.

    Raises:
        Unavailable: the database cannot be used.
    """
    with database.reading() as session:
        waiting = _waiting(session, policy, customers, now)
    if not waiting:
        return 0
    try:
        made = signer.sign_all([one.csr for one in waiting])
    except PushcertError:
        return 0  # the worker meets it at the first of these customers, and notes why
    signed = {
        one.renewal_id: (one, result)
        for one, result in zip(waiting, made, strict=True)
        if not isinstance(result, Refused)
    }
    return database.carry_out(
        lambda session: _store(session, policy, customers, signed, now, actor)
    )


def _store(
    session: Session,
    policy: Policy,
    customers: Sequence[int],
    signed: dict[int, tuple[_Waiting, SignedCsr]],
    now: datetime,
    actor: str,
) -> int:
    still = [
        (one, signed[one.renewal_id][1])
        for one in _waiting(session, policy, customers, now, before=signed)
        if one.renewal_id in signed and signed[one.renewal_id][0].csr == one.csr
    ]
    if not still:
        return 0
    session.execute(
        _STORE.values(signed_at=now),
        [
            {
                "key": one.renewal_id,
                "made": made.signature,
                "by": made.signer_fingerprint,
                "dies": made.dies_at,
            }
            for one, made in still
        ],
        execution_options={"synchronize_session": False},
    )
    audit.append_all(
        session,
        [
            audit.Entry(
                now,
                actor,
                "request_signed",
                one.slug,
                signing_detail(one.renewal_id, made.signer_fingerprint, one.approved_by),
            )
            for one, made in still
        ],
    )
    return len(still)


def signing_detail(
    renewal_id: int | None, signer_fingerprint: str, approved_by: Sequence[str]
) -> dict[str, object]:
    """What the audit log says of a signature."""
    detail: dict[str, object] = {"renewal": renewal_id, "signer": signer_fingerprint}
    if approved_by:
        detail["approved_by"] = ", ".join(approved_by)
    return detail


_TABLE: Any = Renewal.__table__  # type: ignore[attr-defined]
_STORE = (
    update(_TABLE)
    .where(_TABLE.c.id == bindparam("key"))
    .values(
        # What is the same for all is part of the text: a parameter is converted for each row.
        state=literal_column(f"'{RenewalState.SIGNED}'"),
        request=null(),
        signature=bindparam("made"),
        signer_fingerprint=bindparam("by"),
        request_dies_at=bindparam("dies"),
        blocked_code=null(),
        blocked_message=null(),
        blocked_at=null(),
    )
)


def _as_it_comes(column: Any) -> ColumnElement[Any]:
    """As the driver gives it: most rows are only compared with what was there before."""
    return type_coerce(column, NullType()).label(column.key)


def _instant(value: Any) -> Any:
    """The instant (aware UTC) of a column as it comes: text on SQLite; None stays None."""
    if isinstance(value, str):
        return datetime.fromisoformat(value).replace(tzinfo=UTC)
    return value


def _waiting(
    session: Session,
    policy: Policy,
    customers: Sequence[int],
    now: datetime,
    *,
    before: Mapping[int, tuple[_Waiting, SignedCsr]] | None = None,
) -> list[_Waiting]:
    """Those whose CSR is to be signed now.

    Args:
        before: what was found without locks; with it, the rows are locked, and the rule is asked
            again where anything that it goes by has changed.
    """
    signer = store.signer_facts(store.current_signer(session))
    if signer is None:
        return []
    received = exists().where(
        col(Certificate.renewal_id) == col(Renewal.id), col(Certificate.state) == store.RECEIVED
    )
    statement = (
        select(
            col(Renewal.id),
            col(Customer.slug),
            col(Renewal.csr),
            col(Renewal.state),
            col(Renewal.reason),
            _as_it_comes(col(Renewal.opened_at)),
            col(Renewal.opened_by),
            _as_it_comes(col(Renewal.request_dies_at)),
            cast(col(Renewal.approvals), Text).label("approvals"),  # nearly always of nobody
            _as_it_comes(col(Customer.paused_at)),
            _as_it_comes(col(Customer.offboarded_at)),
            received.label("received"),
        )
        .where(
            col(Customer.id) == col(Renewal.customer_id),
            col(Renewal.customer_id).in_(customers),
            col(Renewal.state).in_(WAIT_FOR_IT),
            col(Renewal.csr).is_not(None),
        )
        .order_by(col(Renewal.id))
    )
    if before is not None:
        statement = statement.with_for_update(of=Renewal)
    found = []
    for row in session.execute(statement):
        seen = (row, signer)
        known = None if before is None else before.get(row[0])
        if known is not None and known[0].seen == seen:
            found.append(known[0])
        elif owes_signature(_facts(row, signer), policy, now):
            found.append(_Waiting(row[0], row.slug, row.csr, _approvers(row), seen))
    return found


def _facts(row: Row[Any], signer: SignerFacts) -> CustomerFacts:
    return CustomerFacts(
        slug=row.slug,
        paused=row.paused_at is not None,
        offboarded=row.offboarded_at is not None,
        renewal=RenewalFacts(
            id=row.id,
            state=RenewalState(row.state),
            reason=RenewalReason(row.reason),
            opened_at=_instant(row.opened_at),
            request_dies_at=_instant(row.request_dies_at),
            received=row.received,
            opened_by=row.opened_by,
            approved_by=_approvers(row),
        ),
        signer=signer,
    )


def _approvers(row: Row[Any]) -> tuple[str, ...]:
    if row.approvals in _OF_NOBODY:
        return ()
    of_this = fingerprint(row.csr)
    return tuple(str(one["by"]) for one in json.loads(row.approvals) if one["csr"] == of_this)
