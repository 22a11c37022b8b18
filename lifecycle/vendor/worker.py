"""Carries out what the planner says is owed, and nothing that it does not say.

Each step is one transaction that reads the facts, plans, and writes the outcome; effects that
leave the process (the instance, an OCSP responder) happen between transactions and can be
repeated. A worker may be killed at any instruction: the next one plans again from the facts.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Protocol, get_args

import structlog
from sqlalchemy import update
from sqlmodel import Session, col

from lifecycle.boundary import Watch, ignore
from lifecycle.clock import Clock
from lifecycle.errors import InternalFault, PushcertError, Refused, Unavailable
from lifecycle.pki.revocation import RevocationStatus
from lifecycle.vendor import audit, registry, store
from lifecycle.vendor.batch_signing import sign_waiting, signing_detail
from lifecycle.vendor.check_orders import order_isolation_check
from lifecycle.vendor.database import Database
from lifecycle.vendor.desk import block
from lifecycle.vendor.facts import Policy, RenewalState
from lifecycle.vendor.leases import CUSTOMER_LEASE, turn_at
from lifecycle.vendor.models import Certificate, Customer, Renewal
from lifecycle.vendor.notices import About, Notices
from lifecycle.vendor.plan import (
    Action,
    AskForActivation,
    AskForCsr,
    AskForProbes,
    Block,
    CancelRenewal,
    CheckRevocation,
    Deliver,
    OpenRenewal,
    Remind,
    Resume,
    SignRequest,
    plan,
)
from lifecycle.vendor.signer import RequestSigner
from lifecycle.vendor.signer_in_force import put_in_force
from lifecycle.vendor.signer_state import (
    code_of,
    is_worth_a_look,
    mark_available,
    mark_unavailable,
)
from lifecycle.vendor.telling import tell

ACTOR = "worker"
ACTIONS = frozenset[type[Action]](get_args(Action))
STEPS_PER_CUSTOMER = 32
"""More steps than any customer can need at once; reaching it is a fault, not a wait."""

log = structlog.get_logger(__name__)


class InstanceGateway(Protocol):
    """Lets a customer's instance know that something is wanted of it.

    Embedded: runs the instance's agent once, here and now. Distributed: does nothing, since
    instances ask by themselves. A caller must not assume that anything was done on return.
    """

    def nudge(self, slug: str) -> None:
        """Raises ``Unavailable`` or ``Refused`` when the instance cannot work just now."""
        ...


class RevocationGateway(Protocol):
    """Asks a certificate's issuer whether it has been revoked."""

    def ask(self, certificate: bytes) -> RevocationStatus:
        """``certificate`` is DER. Raises ``Unavailable`` when there is no usable answer."""
        ...


@dataclass(slots=True)
class TickSummary:
    """What one tick did.

    Attributes:
        customers: how many were looked at.
        actions: how often each kind of action was carried out, by its name.
        faults: what could not be done just now and will be tried again.
        defects: errors that should not exist; each is in the log.
    """

    customers: int = 0
    actions: dict[str, int] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)
    defects: list[str] = field(default_factory=list)

    def count(self, action: Action) -> None:
        """Adds one carried-out action."""
        name = type(action).__name__
        self.actions[name] = self.actions.get(name, 0) + 1


@dataclass(frozen=True, slots=True)
class _Step:
    """What became of one look at a customer: something written, something to do outside, a CSR
    that stays unsigned, or (none of these) rest."""

    slug: str
    certificate: bytes = b""
    written: Action | None = None
    outside: Action | None = None
    unsigned: bool = False


class Worker:
    """Looks at every customer that is due and does what is owed.

    Args:
        database, clock, policy: the vendor's.
        signer: signs CSRs; None in a process that must not hold the key.
        instances: reaches the customers' instances.
        revocation: asks OCSP responders.
        notices: writes messages into the outbox.
        lease: how long customers that were taken are this worker's (PostgreSQL).
    """

    def __init__(
        self,
        database: Database,
        clock: Clock,
        policy: Policy,
        signer: RequestSigner,
        instances: InstanceGateway,
        revocation: RevocationGateway,
        notices: Notices,
        lease: timedelta = CUSTOMER_LEASE,
    ) -> None:
        self._database = database
        self._clock = clock
        self._policy = policy
        self._signer = signer
        self._instances = instances
        self._revocation = revocation
        self._notices = notices
        self._lease = lease

    def tick(
        self,
        *,
        batch: int = 100,
        only: frozenset[type[Action]] = ACTIONS,
        stop: Callable[[], bool] = lambda: False,
        watch: Watch = ignore,
    ) -> TickSummary:
        """Does everything that is owed now, once.

        Args:
            batch: how many due customers are fetched at a time.
            only: of what is owed, these kinds of action; the rest stays owed.
            stop: asked before each customer; True ends the tick after the one in hand.
            watch: told how far it is.

        Raises:
            Unavailable: the database cannot be used.
        """
        summary = TickSummary()
        self.register_signer()
        self.look_at_signer()
        turn = turn_at(self._database, self._lease)
        try:
            while not stop() and (due := turn.take(self._clock.now(), batch)):
                self._sign_many(due, summary, only)
                for customer_id in due:
                    if stop():
                        break
                    if turn.keep(customer_id):
                        self._serve_one(customer_id, summary, only)
                        watch(summary.customers, "Looking at customers")
                        turn.done(customer_id)
        finally:
            turn.give_back()
        return summary

    def _serve_one(
        self, customer_id: int, summary: TickSummary, only: frozenset[type[Action]]
    ) -> None:
        """Serves one of many: a defect met with one customer must not stop a whole vendor's
        renewals; it is counted, logged, and makes the command fail at the end."""
        summary.customers += 1
        try:
            self._serve(customer_id, summary, only)
        except Unavailable:
            raise
        except Exception as defect:
            log.exception("customer_failed", customer=customer_id)
            summary.defects.append(f"customer {customer_id}: {type(defect).__name__}")
            self._defer(customer_id)

    def drive(self, slug: str) -> TickSummary:
        """Does everything that is owed to one customer now, whether it was due or not."""
        summary = TickSummary(customers=1)
        self.register_signer()
        self.look_at_signer()
        with self._database.reading() as session:
            customer_id = store.key_of(store.customer_by_slug(session, slug))
        self._serve(customer_id, summary)
        return summary

    def register_signer(self) -> None:
        """Brings the registry up to date with the signer that is in force.

        Importing a signer puts files in place; this notices them, however the import ended.
        """
        record = self._signer.current()
        with self._database.reading() as session:
            known = store.current_signer(session)
        if record is None or (known is not None and known.fingerprint == record.fingerprint):
            return
        now = self._clock.now()
        self._database.carry_out(lambda session: put_in_force(session, record, now))

    def look_at_signer(self) -> None:
        """Sees whether a key that could not be used can be now; if so, who waited goes on."""
        with self._database.reading() as session:
            if not is_worth_a_look(store.current_signer(session)):
                return
        try:
            self._signer.ready()
        except PushcertError:
            return
        with self._database.transaction() as session:
            mark_available(session, self._clock.now(), actor=ACTOR)

    def _serve(
        self, customer_id: int, summary: TickSummary, only: frozenset[type[Action]] = ACTIONS
    ) -> None:
        attempted: set[type[Action]] = set(ACTIONS - only)
        for _ in range(STEPS_PER_CUSTOMER):
            slug, certificate, action = self._step(customer_id, attempted, summary, ACTIONS - only)
            if action is None:
                return
            attempted.add(type(action))
            summary.count(action)
            try:
                if isinstance(action, CheckRevocation):
                    self._check_revocation(customer_id, certificate)
                else:
                    self._instances.nudge(slug)
            except PushcertError as fault:
                # One customer's trouble must not keep the others waiting.
                log.warning("customer_step_failed", customer=slug, code=fault.code)
                summary.faults.append(f"{slug}: {fault}")
        raise InternalFault(f"Customer {customer_id} does not come to rest.")

    def _sign_many(
        self, customers: list[int], summary: TickSummary, only: frozenset[type[Action]]
    ) -> None:
        if SignRequest not in only:
            return
        signed = sign_waiting(
            self._database,
            self._signer,
            self._policy,
            customers,
            self._clock.now(),
            actor=ACTOR,
        )
        if signed:
            name = SignRequest.__name__
            summary.actions[name] = summary.actions.get(name, 0) + signed

    def _defer(self, customer_id: int) -> None:
        again_at = self._clock.now() + self._policy.retry
        self._database.carry_out(lambda session: _rest(session, customer_id, again_at))

    def _step(
        self,
        customer_id: int,
        attempted: set[type[Action]],
        summary: TickSummary,
        left: frozenset[type[Action]],
    ) -> tuple[str, bytes, Action | None]:
        """Writes everything that is owed inside the database; gives the next thing outside."""
        for _ in range(STEPS_PER_CUSTOMER):
            step = self._database.carry_out(
                lambda session: self._advance(session, customer_id, frozenset(attempted), left)
            )
            if step.unsigned:
                attempted.add(SignRequest)
            elif step.written is not None:
                summary.count(step.written)
            else:
                return step.slug, step.certificate, step.outside
        raise InternalFault(f"Customer {customer_id} does not come to rest.")

    def _advance(
        self,
        session: Session,
        customer_id: int,
        attempted: frozenset[type[Action]],
        left: frozenset[type[Action]],
    ) -> _Step:
        """The next thing that is owed, done if it is done inside the database. Safe to repeat:
        it is planned from the facts as they are then."""
        now = self._clock.now()
        customer = store.customer_by_id(session, customer_id)
        record = store.load(session, customer)
        owed = plan(record.facts, self._policy, now)
        todo = [a for a in owed.actions if type(a) not in attempted]
        if not todo:
            if any(type(a) in left for a in owed.actions):
                # It stays due: not all may be done here.
                _rest(session, customer_id, customer.next_action_at)
                return _Step(customer.slug)
            retry_at = now + self._policy.retry if owed.actions else None
            wakes = [at for at in (owed.wake_at, retry_at) if at is not None]
            _rest(session, customer_id, min(wakes, default=None))
            return _Step(customer.slug)
        action = todo[0]
        if _leaves_the_database(action):
            der = b"" if record.active is None else record.active.der
            return _Step(customer.slug, der, outside=action)
        if isinstance(action, SignRequest) and not self._sign(session, record, now):
            return _Step(customer.slug, unsigned=True)
        self._write(session, record, action, now)
        return _Step(customer.slug, written=action)

    def _write(
        self, session: Session, record: store.CustomerRecord, action: Action, now: datetime
    ) -> None:
        customer, renewal = record.customer, record.renewal
        match action:
            case OpenRenewal(reason):
                registry.open_renewal(session, customer, reason, at=now, actor=ACTOR)
            case CancelRenewal(why) if renewal is not None:
                registry.cancel_renewal(session, customer, renewal, why, at=now, actor=ACTOR)
            case Resume():
                registry.resume(session, customer, at=now, actor=ACTOR)
            case AskForProbes():
                order_isolation_check(session, customer, at=now)
            case Deliver() | Remind():
                tell(
                    session,
                    self._notices,
                    record,
                    action,
                    now,
                    policy=self._policy,
                    actor=ACTOR,
                )
            case Block(code, message) if renewal is not None:
                block(session, renewal, code, message, now)
                _audit(session, customer, "renewal_blocked", now, renewal, code=code)
            case _:
                pass  # the facts it was planned from are read in this very transaction

    def _sign(self, session: Session, record: store.CustomerRecord, now: datetime) -> bool:
        """Signs the renewal's CSR in the open transaction; False when it stays unsigned."""
        renewal = record.renewal
        if renewal is None or renewal.csr is None:
            return False
        try:
            (signed,) = self._signer.sign_all([renewal.csr])
        except PushcertError as fault:
            log.warning("signer_unavailable", code=code_of(fault))
            mark_unavailable(session, fault, now, actor=ACTOR)
            return False
        if isinstance(signed, Refused):
            log.warning("signing_failed", customer=record.customer.slug, code=signed.code)
            block(session, renewal, "signing_failed", str(signed), now)
            return False
        approved = record.facts.renewal.approved_by if record.facts.renewal else ()
        renewal.state = RenewalState.SIGNED
        renewal.signed_at = now
        renewal.request, renewal.signature = None, signed.signature
        renewal.signer_fingerprint = signed.signer_fingerprint
        renewal.request_dies_at = signed.dies_at
        renewal.blocked_code = renewal.blocked_message = renewal.blocked_at = None
        session.add(renewal)
        audit.append(
            session,
            at=now,
            actor=ACTOR,
            action="request_signed",
            subject=record.customer.slug,
            detail=signing_detail(renewal.id, signed.signer_fingerprint, approved),
        )
        return True

    def _check_revocation(self, customer_id: int, certificate: bytes) -> None:
        status = self._revocation.ask(certificate)
        now = self._clock.now()

        def note(session: Session) -> None:
            customer = store.customer_by_id(session, customer_id)
            active = store.active_certificate(session, customer)
            if active is None or active.der != certificate:
                return
            active.revocation_checked_at = now
            session.add(active)
            if status.revoked and active.revoked_at is None:
                self._revoked(session, customer, active, status.revoked_at or now, now)

        self._database.carry_out(note)

    def _revoked(
        self,
        session: Session,
        customer: Customer,
        active: Certificate,
        revoked_at: datetime,
        now: datetime,
    ) -> None:
        active.revoked_at = revoked_at
        self._notices.revoked(session, About(customer, active), now)
        audit.append(
            session,
            at=now,
            actor=ACTOR,
            action="certificate_revoked",
            subject=customer.slug,
            detail={"serial": active.serial, "revoked_at": revoked_at.isoformat()},
        )


def _rest(session: Session, customer_id: int, until: datetime | None) -> None:
    """Nothing is owed to the customer before ``until``; with that, its lease ends."""
    session.execute(
        update(Customer)
        .where(col(Customer.id) == customer_id)
        .values(next_action_at=until, leased_to=None, leased_until=None)
    )


def _leaves_the_database(action: Action) -> bool:
    match action:
        case AskForProbes(order):
            return not order
        case AskForCsr() | AskForActivation() | CheckRevocation():
            return True
        case _:
            return False


def _audit(
    session: Session,
    customer: Customer,
    action: str,
    now: datetime,
    renewal: Renewal,
    **detail: str,
) -> None:
    audit.append(
        session,
        at=now,
        actor=ACTOR,
        action=action,
        subject=customer.slug,
        detail={"renewal": renewal.id, **detail},
    )
