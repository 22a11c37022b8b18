"""Many waiting CSRs signed in one go: as one by one, and nothing that changed in between."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from sqlmodel import Session, col, select

from bench.keys import keys
from lifecycle.errors import Refused, Unavailable
from lifecycle.lab.authority import Authority
from lifecycle.lab.clock import LabClock
from lifecycle.pki.csr import build_csr, read_csr
from lifecycle.pki.fingerprints import fingerprint
from lifecycle.pki.request import decode_request
from lifecycle.vendor.audit import verify_log
from lifecycle.vendor.batch_signing import sign_waiting
from lifecycle.vendor.database import Database
from lifecycle.vendor.facts import Policy, RenewalState
from lifecycle.vendor.models import AuditEntry, Customer, Renewal
from lifecycle.vendor.signed_requests import request_of
from lifecycle.vendor.signer import SignedCsr, SignerDirectory
from lifecycle.vendor.signer_in_force import put_in_force

NOW = datetime(2027, 3, 1, 9, tzinfo=UTC)
COUNT = 6
CSRS = [
    build_csr(key, email=f"it@c{n}.example", common_name=f"Customer {n}").der
    for n, key in enumerate(keys(COUNT + 1), 1)
]
FOUR_EYES = Policy(four_eyes=True)
Meanwhile = Callable[[Session], None]


@dataclass
class Desk:
    """A vendor at which a CSR of each customer waits.

    Attributes:
        meanwhile: what somebody else does to the registry while the key works.
    """

    database: Database
    signer: SignerDirectory
    meanwhile: Meanwhile | None = None
    asked: list[int] = field(default_factory=list)

    def sign_all(self, csrs: Sequence[bytes]) -> list[SignedCsr | Refused]:
        self.asked.append(len(csrs))
        made = self.signer.sign_all(csrs)
        if self.meanwhile is not None:
            with self.database.transaction() as session:
                self.meanwhile(session)
        return made

    def sign(self, policy: Policy = Policy()) -> int:  # noqa: B008  (frozen)
        everybody = range(1, COUNT + 1)
        signer: Any = self
        return sign_waiting(self.database, signer, policy, everybody, NOW, actor="worker")

    def states(self) -> list[str]:
        with self.database.reading() as session:
            rows = session.exec(select(Renewal).order_by(col(Renewal.customer_id))).all()
            return [row.state for row in rows]

    def requests(self) -> list[str | None]:
        with self.database.reading() as session:
            rows = session.exec(select(Renewal).order_by(col(Renewal.customer_id))).all()
            return [request_of(session, row) for row in rows]

    def log(self) -> list[tuple[str, dict[str, Any]]]:
        with self.database.reading() as session:
            assert verify_log(session).problem is None
            chosen = select(AuditEntry).where(AuditEntry.action == "request_signed")
            rows = session.exec(chosen.order_by(col(AuditEntry.seq))).all()
            return [(row.subject, row.detail) for row in rows]

    def change(self, customer: int, **values: object) -> None:
        with self.database.transaction() as session:
            set_values(session, customer, **values)


def set_values(session: Session, customer: int, **values: object) -> None:
    row = session.exec(select(Renewal).where(Renewal.customer_id == customer)).one()
    for name, value in values.items():
        setattr(row, name, value)
    session.add(row)


@pytest.fixture(scope="module")
def signer(tmp_path_factory: pytest.TempPathFactory) -> SignerDirectory:
    authority = Authority(LabClock(NOW - timedelta(days=10)), 9)
    key = generate_private_key(65537, 2048)
    certificate = authority.issue_signing_certificate(key.public_key(), "Example MDM", days=380)
    directory = SignerDirectory(tmp_path_factory.mktemp("signer") / "signer")
    directory.install(certificate, key, (), authority.trust, at=NOW)
    return directory


@pytest.fixture
def desk(database_url: str, signer: SignerDirectory) -> Iterator[Desk]:
    database = Database(database_url)
    record = signer.current()
    assert record is not None
    with database.transaction() as session:
        put_in_force(session, record, NOW)
        for number in range(1, COUNT + 1):
            slug = f"customer-{number}"
            session.add(
                Customer(
                    id=number,
                    slug=slug,
                    name=slug,
                    email=f"it@{slug}.example",
                    created_at=NOW,
                    next_action_at=NOW,
                )
            )
            session.flush()
            session.add(
                Renewal(
                    customer_id=number,
                    state=RenewalState.CSR_RECEIVED,
                    reason="expiry",
                    opened_at=NOW,
                    opened_by="operator:anna",
                    csr=CSRS[number - 1],
                    csr_received_at=NOW,
                )
            )
    yield Desk(database, signer)
    database.close()


def test_requests_are_those_that_are_made_one_by_one(desk: Desk) -> None:
    assert desk.sign() == COUNT
    assert desk.asked == [COUNT]
    assert desk.states() == [RenewalState.SIGNED] * COUNT
    assert desk.requests() == [desk.signer.sign(csr).request for csr in CSRS[:COUNT]]
    log = desk.log()
    assert [subject for subject, _ in log] == [f"customer-{n}" for n in range(1, COUNT + 1)]
    assert {"approved_by" in detail for _, detail in log} == {False}
    assert desk.sign() == 0
    assert desk.asked == [COUNT], "nobody is signed for twice"


def test_each_of_a_pile_is_signed_or_refused_as_it_is_alone(signer: SignerDirectory) -> None:
    big = build_csr(generate_private_key(65537, 3072), email="it@big.example", common_name="Big")
    long = build_csr(next(keys(1)), email="it@long.example", common_name="Ü" * 64)
    unfit = [b"", CSRS[0] + b"\0", CSRS[1][:-1] + b"?", CSRS[2][:-40], CSRS[3][300:]]
    fit = [CSRS[0], big.der, long.der, big.pem.encode(), CSRS[4]]
    pile = [csr for pair in zip(fit, unfit, strict=True) for csr in pair]
    made = dict(zip(pile, signer.sign_all(pile), strict=True))
    for csr in fit:
        one = made[csr]
        assert isinstance(one, SignedCsr)
        assert one == signer.sign(csr)
        assert decode_request(one.request.encode()).csr_der == one.csr == read_csr(csr).der
    for csr in unfit:
        refusal = made[csr]
        with pytest.raises(Refused) as refused:
            read_csr(csr)
        assert isinstance(refusal, Refused)
        assert refusal.findings == refused.value.findings


def test_a_csr_that_is_not_fit_is_left_and_hinders_nobody(desk: Desk) -> None:
    desk.change(2, csr=CSRS[1][:-1] + bytes([CSRS[1][-1] ^ 1]))
    assert desk.sign() == COUNT - 1
    assert desk.states()[1] == RenewalState.CSR_RECEIVED
    assert desk.requests()[1] is None


@pytest.mark.parametrize(
    "values",
    [
        {"csr": CSRS[COUNT]},
        {"state": RenewalState.CANCELLED, "ended_at": NOW},
        {"state": RenewalState.REQUESTED},
    ],
    ids=lambda values: str(next(iter(values))),
)
def test_a_renewal_that_changed_while_the_key_worked_gets_no_request(
    desk: Desk, values: dict[str, object]
) -> None:
    desk.meanwhile = lambda session: set_values(session, 3, **values)
    assert desk.sign() == COUNT - 1
    assert desk.requests()[2] is None
    assert "customer-3" not in {subject for subject, _ in desk.log()}


def test_a_customer_who_was_paused_while_the_key_worked_gets_no_request(desk: Desk) -> None:
    def pause(session: Session) -> None:
        customer = session.get_one(Customer, 4)
        customer.paused_at = NOW
        session.add(customer)

    desk.meanwhile = pause
    assert desk.sign() == COUNT - 1
    assert desk.requests()[3] is None


def test_what_changed_without_meaning_is_asked_about_again_and_signed(desk: Desk) -> None:
    desk.meanwhile = lambda session: set_values(session, 5, opened_at=NOW - timedelta(hours=1))
    assert desk.sign() == COUNT


def test_somebody_else_who_signed_first_has_signed(desk: Desk) -> None:
    def another(session: Session) -> None:
        made = desk.signer.sign(CSRS[0])
        set_values(
            session,
            1,
            state=RenewalState.SIGNED,
            signature=b"theirs",
            signer_fingerprint=made.signer_fingerprint,
            request_dies_at=made.dies_at,
        )

    desk.meanwhile = another
    assert desk.sign() == COUNT - 1
    assert decode_request((desk.requests()[0] or "").encode()).signature == b"theirs"


def test_two_people_must_stand_behind_a_signature_where_the_policy_says_so(desk: Desk) -> None:
    assert desk.sign(FOUR_EYES) == 0
    assert desk.asked == []
    desk.change(
        6,
        approvals=[
            {"csr": fingerprint(CSRS[0]), "by": "operator:carla", "at": NOW.isoformat()},
            {"csr": fingerprint(CSRS[5]), "by": "operator:ben", "at": NOW.isoformat()},
        ],
    )
    assert desk.sign(FOUR_EYES) == 1
    ((subject, detail),) = desk.log()
    assert subject == "customer-6"
    assert detail["approved_by"] == "operator:ben", "who approved another CSR stands for nothing"


def test_a_key_that_cannot_be_reached_leaves_everything_as_it_is(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(csrs: Sequence[bytes]) -> list[SignedCsr | Refused]:
        raise Unavailable("The token is not there.")

    monkeypatch.setattr(desk, "sign_all", gone)
    assert desk.sign() == 0
    assert desk.states() == [RenewalState.CSR_RECEIVED] * COUNT


def test_without_a_signer_nothing_is_looked_at(sqlite_url: str, tmp_path: Path) -> None:
    database = Database(sqlite_url)
    signer = SignerDirectory(tmp_path / "none")
    assert sign_waiting(database, signer, Policy(), [1], NOW, actor="worker") == 0
    database.close()
