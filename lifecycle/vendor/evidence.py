"""Turns the evidence of isolation checks into stored verdicts, and alerts on a breach."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import delete, insert, tuple_
from sqlalchemy.orm import aliased
from sqlmodel import Session, and_, col, func, select

from lifecycle.vendor import audit, store
from lifecycle.vendor.facts import Verdict
from lifecycle.vendor.isolation import judge
from lifecycle.vendor.models import Certificate, Customer, IsolationCheck, TokenClaim
from lifecycle.vendor.notices import About, Notices
from lifecycle.wire.messages import Evidence, Probe

_CLAIMS_AT_A_TIME = 400
"""Two values each; far below what a statement may carry on any database."""


@dataclass(frozen=True, slots=True)
class Conclusion:
    """What came of one check.

    Attributes:
        check_id, customer_id, slug: which.
        verdict, why: as stored.
    """

    check_id: int
    customer_id: int
    slug: str
    verdict: Verdict
    why: str


def conclude(
    session: Session, customer: Customer, evidence: Evidence, notices: Notices, now: datetime
) -> None:
    """Judges an ordered check of this customer; does nothing for one that was judged already."""
    conclude_all(session, {store.key_of(customer): evidence}, notices, now)


def conclude_all(
    session: Session, evidence: Mapping[int, Evidence], notices: Notices, now: datetime
) -> list[Conclusion]:
    """Judges ordered checks of many customers, in a number of statements that does not grow.

    The probes show what APNs lets a certificate do; the static check beside them shows whether
    an instance knows a device that another customer's instance knows too.

    Args:
        evidence: by the id of the customer whose instance sent it. One that is about another
            customer's check, or about one that was judged already, is left out.
    """
    customers = _customers(session, evidence)  # locked, before what is theirs is read
    checks = _ordered(session, evidence)
    certificates = _certificates(session, checks.values())
    previous = _previous(session, checks)
    _claim_tokens(session, {c: evidence[c] for c in checks})
    shared = _shared_tokens(session, checks)
    made: list[Conclusion] = []
    news: list[audit.Entry] = []
    for customer_id, check in checks.items():
        customer, sent = customers[customer_id], evidence[customer_id]
        verdict, why = _verdict(sent, certificates[check.certificate_id])
        if customer_id in shared:
            verdict = Verdict.BREACHED
            why = f"{shared[customer_id]} also holds a device token of {customer.slug}."
        check.verdict, check.why, check.concluded_at = verdict, why, now
        check.answers = [answer.model_dump(mode="json") for answer in sent.answers]
        before = previous.get(customer_id)
        if verdict is not Verdict.ISOLATED or before not in (None, Verdict.ISOLATED):
            customer.next_action_at = now
        if before != verdict:
            news.append(_news(customer, check, verdict, why, now))
        if verdict is Verdict.BREACHED and before != Verdict.BREACHED:
            certificate = session.get_one(Certificate, check.certificate_id)
            notices.breach(session, About(customer, certificate), check, now)
        made.append(Conclusion(sent.check_id, customer_id, customer.slug, verdict, why))
    session.flush()
    audit.append_all(session, news)
    return made


def worth_another_try(evidence: Evidence) -> bool:
    """Whether a try later may be judged, where this one cannot: something that passes kept an
    answer from coming. Not where a push has crossed a border: that is a breach already."""
    if any(a.status == 200 and a.probe is not Probe.OWN for a in evidence.answers):
        return False
    return any(
        answer.fault in ("apns_unreachable", "connection_lost", "stalled")
        or answer.status == 429
        or (answer.status or 0) >= 500
        for answer in evidence.answers
    )


def _ordered(session: Session, evidence: Mapping[int, Evidence]) -> dict[int, IsolationCheck]:
    numbers = [sent.check_id for sent in evidence.values()]
    found = session.exec(
        select(IsolationCheck).where(
            col(IsolationCheck.id).in_(numbers), col(IsolationCheck.verdict).is_(None)
        )
    )
    return {
        check.customer_id: check
        for check in found
        if check.customer_id in evidence and evidence[check.customer_id].check_id == check.id
    }


def _customers(session: Session, ids: Mapping[int, object]) -> dict[int, Customer]:
    store.lock_customers(session, list(ids))
    found = session.exec(select(Customer).where(col(Customer.id).in_(list(ids))))
    return {store.key_of(customer): customer for customer in found}


def _certificates(session: Session, checks: Iterable[IsolationCheck]) -> dict[int, tuple[str, str]]:
    """Fingerprint and topic, by id; the rest of a certificate is not needed here."""
    ids = {check.certificate_id for check in checks}
    found = session.execute(
        select(Certificate.id, Certificate.fingerprint, Certificate.topic).where(
            col(Certificate.id).in_(ids)
        )
    )
    return {key: (fingerprint, topic) for key, fingerprint, topic in found}


def _previous(session: Session, ids: Mapping[int, object]) -> dict[int, str | None]:
    """The verdict before, by customer."""
    newest = (
        select(
            IsolationCheck.customer_id, func.max(IsolationCheck.concluded_at).label("concluded_at")
        )
        .where(
            col(IsolationCheck.customer_id).in_(list(ids)), col(IsolationCheck.verdict).is_not(None)
        )
        .group_by(col(IsolationCheck.customer_id))
        .subquery()
    )
    found = session.exec(
        select(IsolationCheck.customer_id, IsolationCheck.verdict)
        .join(
            newest,
            and_(
                IsolationCheck.customer_id == newest.c.customer_id,
                IsolationCheck.concluded_at == newest.c.concluded_at,
            ),
        )
        .order_by(col(IsolationCheck.id))
    )
    return dict(found.all())


def _verdict(evidence: Evidence, certificate: tuple[str, str]) -> tuple[Verdict, str]:
    unmade = evidence.fault is not None and not evidence.answers
    if evidence.fingerprint != certificate[0] and not unmade:
        return Verdict.INCONCLUSIVE, "The instance probed with another certificate."
    judgement = judge(evidence.answers, evidence.fault, own_topic=certificate[1])
    return judgement.verdict, judgement.why


def _claim_tokens(session: Session, evidence: Mapping[int, Evidence]) -> None:
    """Notes which tokens each instance knows: what is new, and what is gone.

    An instance that could not look into its vault has said nothing about its tokens.
    """
    said = {
        customer: set(sent.token_fingerprints)
        for customer, sent in evidence.items()
        if sent.fault is None or sent.token_fingerprints
    }
    known: dict[int, set[str]] = defaultdict(set)
    for customer, fingerprint in session.exec(
        select(TokenClaim.customer_id, TokenClaim.fingerprint).where(
            col(TokenClaim.customer_id).in_(list(said))
        )
    ):
        known[customer].add(fingerprint)
    gone = [(f, c) for c, tokens in said.items() for f in known[c] - tokens]
    new = [(f, c) for c, tokens in said.items() for f in tokens - known[c]]
    key = tuple_(col(TokenClaim.fingerprint), col(TokenClaim.customer_id))
    for start in range(0, len(gone), _CLAIMS_AT_A_TIME):
        session.execute(
            delete(TokenClaim).where(key.in_(gone[start : start + _CLAIMS_AT_A_TIME])),
            execution_options={"synchronize_session": False},
        )
    if new:
        session.execute(insert(TokenClaim), [{"fingerprint": f, "customer_id": c} for f, c in new])


def _shared_tokens(session: Session, ids: Mapping[int, object]) -> dict[int, str]:
    """By customer, the first of the others (by slug) that knows one of its device tokens."""
    mine, other = aliased(TokenClaim), aliased(TokenClaim)
    found = session.execute(
        select(mine.customer_id, Customer.slug)
        .join(
            other,
            and_(
                other.fingerprint == mine.fingerprint,
                other.customer_id != mine.customer_id,
            ),
        )
        .join(Customer, col(Customer.id) == other.customer_id)
        .where(col(mine.customer_id).in_(list(ids)))
        .order_by(Customer.slug)
        .distinct()
    )
    first: dict[int, str] = {}
    for customer, slug in found:
        first.setdefault(customer, slug)
    return first


def _news(
    customer: Customer, check: IsolationCheck, verdict: Verdict, why: str, now: datetime
) -> audit.Entry:
    return audit.Entry(
        at=now,
        actor=f"instance:{customer.slug}",
        action=f"isolation_{verdict}",
        subject=customer.slug,
        detail={"check": check.id, "why": why},
    )
