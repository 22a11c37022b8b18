"""The audit log finds every change, and names the first."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import text
from sqlalchemy.exc import DataError, ProgrammingError
from sqlmodel import Session, select

from lifecycle.vendor import audit
from lifecycle.vendor.audit import verify_log
from lifecycle.vendor.audit_chain import GENESIS, AuditProblem, Head, entry_hash, verify
from lifecycle.vendor.database import Database
from lifecycle.vendor.models import AuditEntry, AuditHead

START = datetime(2027, 3, 1, 9, 30, 15, 250_000, tzinfo=UTC)


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    made = Database(database_url)
    yield made
    made.close()


@pytest.fixture
def log(database: Database) -> Database:
    """A database with a log of five entries."""
    with database.transaction() as session:
        for number in range(1, 6):
            write(session, number)
    return database


def write(session: Session, number: int) -> AuditEntry:
    """Appends an entry, and gives it as it was written."""
    audit.append(
        session,
        at=START + timedelta(hours=number),
        actor="worker",
        action="renewal_opened",
        subject=f"customer-{number}",
        detail={"renewal": number, "reason": "expiry", "notes": ["é", None, True]},
    )
    return audit.latest(session, 1)[0]


def write_and_fail(session: Session, number: int) -> None:
    write(session, number)
    raise RuntimeError("undone")


def chain(length: int) -> list[AuditEntry]:
    """A log as it would be read, made without a database."""
    entries: list[AuditEntry] = []
    for seq in range(1, length + 1):
        previous = entries[-1].hash if entries else GENESIS
        entry = AuditEntry(
            seq=seq,
            at=START + timedelta(seconds=seq),
            actor="worker",
            action="request_signed",
            subject="acme",
            detail={"renewal": seq},
            previous=previous,
            hash="",
        )
        rehash(entry)
        entries.append(entry)
    return entries


def rehash(entry: AuditEntry) -> None:
    entry.hash = entry_hash(
        seq=entry.seq,
        at=entry.at,
        actor=entry.actor,
        action=entry.action,
        subject=entry.subject,
        detail=entry.detail,
        previous=entry.previous,
    )


def head_of(entries: list[AuditEntry]) -> Head:
    return Head(entries[-1].seq, entries[-1].hash)


def found(problem: AuditProblem | None) -> tuple[str, int]:
    assert problem is not None, "the change was not found"
    assert str(problem.seq) in str(problem)
    return problem.code, problem.seq


def test_a_log_that_nobody_touched_is_whole(log: Database) -> None:
    with log.reading() as session:
        outcome = verify_log(session)
        newest = audit.latest(session, 1)[0]
    assert outcome.problem is None
    assert outcome.entries == 5
    assert outcome.head == newest.hash
    assert outcome.last_at == START + timedelta(hours=5)


def test_an_empty_log_is_whole(database: Database) -> None:
    with database.reading() as session:
        outcome = verify_log(session)
    assert outcome == audit.LogOutcome(0, GENESIS, None, None)


def test_latest_gives_the_newest_entries_oldest_first(log: Database) -> None:
    with log.reading() as session:
        assert [e.seq for e in audit.latest(session, 2)] == [4, 5]
        assert [e.seq for e in audit.latest(session, 9, "customer-3")] == [3]


def test_the_hash_does_not_depend_on_the_order_of_keys_or_the_zone_of_the_time() -> None:
    def digest(at: datetime, detail: dict[str, object]) -> str:
        return entry_hash(
            seq=1,
            at=at,
            actor="a",
            action="b",
            subject="c",
            detail=detail,
            previous=GENESIS,
        )

    tokyo = START.astimezone(timezone(timedelta(hours=9)))
    assert digest(START, {"a": 1, "b": "ü"}) == digest(tokyo, {"b": "ü", "a": 1})
    assert digest(START, {"a": 1}) != digest(START + timedelta(microseconds=1), {"a": 1})


def test_the_hash_is_sha256_of_canonical_json() -> None:
    # Made with: printf '%s' '<the JSON>' | sha256sum
    assert (
        entry_hash(
            seq=1,
            at=START,
            actor="worker",
            action="renewal_opened",
            subject="acme",
            detail={"reason": "expiry", "renewal": 7},
            previous=GENESIS,
        )
        == "5ac13de74a4084061827ad764254950129a5a63bec72530a005a610d24396d6b"
    )


def test_an_entry_is_gone_with_the_transaction_that_wrote_it(log: Database) -> None:
    with pytest.raises(RuntimeError, match="undone"), log.transaction() as session:
        write_and_fail(session, 6)
    with log.transaction() as session:
        assert write(session, 7).seq == 6
    with log.reading() as session:
        assert verify_log(session).problem is None


def test_entries_of_a_savepoint_that_was_undone_leave_no_gap(log: Database) -> None:
    with log.transaction() as session:
        write(session, 6)
        with pytest.raises(RuntimeError, match="undone"), session.begin_nested():
            write_and_fail(session, 7)
        write(session, 8)
    with log.reading() as session:
        outcome = verify_log(session)
    assert (outcome.problem, outcome.entries) == (None, 7)


def test_entries_that_are_written_together_come_at_the_end_and_of_a_failure_none(
    log: Database,
) -> None:
    def subjects(session: Session) -> list[str]:
        return [entry.subject for entry in audit.latest(session, 9)]

    def say(session: Session, subject: str) -> None:
        audit.append(
            session, at=START, actor="worker", action="renewal_opened", subject=subject, detail={}
        )

    def say_and_fail(session: Session) -> None:
        say(session, "never")
        raise RuntimeError("undone")

    with log.transaction() as session:
        with audit.together(session):
            say(session, "first")
            with pytest.raises(RuntimeError, match="undone"), audit.together(session):
                say_and_fail(session)
            with audit.together(session):
                say(session, "second")
            with pytest.raises(TypeError):
                audit.append(
                    session, at=START, actor="w", action="a", subject="s", detail={"k": b"key"}
                )
            assert subjects(session)[-1] == "customer-5"
        assert subjects(session)[-2:] == ["first", "second"]
    with log.reading() as session:
        assert verify_log(session).problem is None


@pytest.mark.parametrize(
    ("statement", "expected"),
    [
        ("UPDATE audit SET subject = 'other' WHERE seq = 3", ("changed", 3)),
        ("UPDATE audit SET detail = '{}' WHERE seq = 2", ("changed", 2)),
        ("UPDATE audit SET detail = '{not json' WHERE seq = 4", ("changed", 4)),
        ("UPDATE audit SET at = 'yesterday' WHERE seq = 4", ("changed", 4)),
        ("UPDATE audit SET at = '2027-03-01 10:30:15.250001' WHERE seq = 1", ("changed", 1)),
        ("UPDATE audit SET actor = x'00ff' WHERE seq = 5", ("changed", 5)),
        ("UPDATE audit SET hash = 'beef' WHERE seq = 5", ("changed", 5)),
        ("UPDATE audit SET previous = 'beef' WHERE seq = 1", ("changed", 1)),
        ("DELETE FROM audit WHERE seq = 1", ("removed", 1)),
        ("DELETE FROM audit WHERE seq = 3", ("removed", 3)),
        ("DELETE FROM audit WHERE seq = 5", ("removed", 5)),
        ("DELETE FROM audit WHERE seq >= 3", ("removed", 3)),
        ("DELETE FROM audit", ("removed", 1)),
        ("UPDATE audit SET seq = 9 WHERE seq = 2", ("removed", 2)),
        ("UPDATE audit SET seq = 0 WHERE seq = 2", ("moved", 0)),
        ("DELETE FROM audit_head", ("head_changed", 1)),
        ("UPDATE audit_head SET seq = 3", ("head_changed", 4)),
        ("UPDATE audit_head SET seq = 8", ("removed", 6)),
        ("UPDATE audit_head SET hash = 'beef'", ("changed", 5)),
    ],
)
def test_a_change_behind_our_back_is_found_and_the_first_named(
    log: Database, statement: str, expected: tuple[str, int]
) -> None:
    try:
        with log.engine.begin() as connection:
            connection.execute(text(statement))
    except (DataError, ProgrammingError):
        assert not log.has_one_writer  # SQLite takes whatever it is given
        return
    with log.reading() as session:
        assert found(verify_log(session).problem) == expected


def test_two_entries_that_changed_places_are_found(log: Database) -> None:
    with log.engine.begin() as connection:
        connection.execute(text("UPDATE audit SET seq = -2 WHERE seq = 2"))
        connection.execute(text("UPDATE audit SET seq = 2 WHERE seq = 4"))
        connection.execute(text("UPDATE audit SET seq = 4 WHERE seq = -2"))
    with log.reading() as session:
        assert found(verify_log(session).problem) == ("changed", 2)


def test_removed_entries_stay_found_after_new_ones_were_written(log: Database) -> None:
    with log.engine.begin() as connection:
        connection.execute(text("DELETE FROM audit WHERE seq > 3"))
    with log.transaction() as session:
        assert write(session, 6).seq == 6
    with log.reading() as session:
        assert found(verify_log(session).problem) == ("removed", 4)


def test_a_removed_head_stays_found_after_new_entries_were_written(log: Database) -> None:
    with log.engine.begin() as connection:
        connection.execute(text("DELETE FROM audit WHERE seq > 3"))
        connection.execute(text("DELETE FROM audit_head"))
    with log.transaction() as session:
        write(session, 6)
    with log.reading() as session:
        assert found(verify_log(session).problem) == ("changed", 3)


def test_a_log_that_was_rewritten_as_a_whole_is_found_by_a_hash_noted_elsewhere(
    log: Database,
) -> None:
    with log.reading() as session:
        noted = verify_log(session).head
    with log.transaction() as session:
        for entry in session.exec(select(AuditEntry)).all():
            session.delete(entry)
        session.delete(session.get_one(AuditHead, 1))
        session.flush()
        for number in (1, 2, 3, 5):
            write(session, number)
    with log.reading() as session:
        assert verify_log(session).problem is None, "the chain alone cannot tell"
        assert found(verify_log(session, expect=noted).problem) == ("not_expected", 1)


def test_a_noted_hash_is_expected_anywhere_in_the_log(log: Database) -> None:
    with log.reading() as session:
        noted = verify_log(session).head
    with log.transaction() as session:
        write(session, 6)
    with log.reading() as session:
        assert verify_log(session, expect=noted).problem is None
        assert verify_log(session, expect=GENESIS).problem is None


@pytest.mark.parametrize(
    "secret",
    [
        b"token",
        bytearray(b"token"),
        memoryview(b"token"),
        {"deep": [b"token"]},
        START,
        1.5,
        {1: "x"},
        object(),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_detail_of_another_type_is_refused_and_nothing_is_written(
    log: Database, secret: object
) -> None:
    with log.transaction() as session, pytest.raises(TypeError, match="audit log"):
        audit.append(
            session, at=START, actor="w", action="a", subject="s", detail={"value": secret}
        )
    with log.reading() as session:
        assert verify_log(session).entries == 5


def test_a_pem_block_is_refused_as_a_detail(log: Database) -> None:
    pem = "-----BEGIN PRIVATE KEY-----\nMIIE\n-----END PRIVATE KEY-----\n"
    with log.transaction() as session, pytest.raises(ValueError, match="PEM"):
        audit.append(session, at=START, actor="w", action="a", subject="s", detail={"k": [pem]})


def test_a_naive_time_is_refused(log: Database) -> None:
    naive = START.replace(tzinfo=None)
    with log.transaction() as session, pytest.raises(ValueError, match="zone"):
        audit.append(session, at=naive, actor="w", action="a", subject="s", detail={})


# Every single change, on chains of any length.


def _set(name: str, value: object) -> Callable[[AuditEntry], None]:
    return lambda entry: setattr(entry, name, value)


CHANGES: list[Callable[[AuditEntry], None]] = [
    _set("actor", "somebody"),
    _set("action", "request_delivered"),
    _set("subject", "acmf"),
    _set("detail", {"renewal": 0}),
    _set("detail", {"renewal": "1"}),
    _set("at", START),
    _set("previous", "f" * 64),
    _set("hash", "f" * 64),
]


@given(data=st.data(), length=st.integers(1, 12), change=st.sampled_from(CHANGES))
def test_any_changed_entry_is_named(
    data: st.DataObject, length: int, change: Callable[[AuditEntry], None]
) -> None:
    entries = chain(length)
    head = head_of(entries)
    seq = data.draw(st.integers(1, length))
    change(entries[seq - 1])
    assert found(verify(entries, head)) == ("changed", seq)


@given(data=st.data(), length=st.integers(1, 12), change=st.sampled_from(CHANGES[:-1]))
def test_a_changed_entry_whose_hash_was_made_anew_is_named(
    data: st.DataObject, length: int, change: Callable[[AuditEntry], None]
) -> None:
    entries = chain(length)
    head = head_of(entries)
    seq = data.draw(st.integers(1, length))
    change(entries[seq - 1])
    rehash(entries[seq - 1])
    code, named = found(verify(entries, head))
    assert code == "changed"
    # A forged link points at the entry before: nobody can tell which of the two was changed.
    assert named in ({seq, seq - 1} if entries[seq - 1].previous == "f" * 64 else {seq})


@given(data=st.data(), length=st.integers(1, 12))
def test_any_removed_entries_are_named(data: st.DataObject, length: int) -> None:
    entries = chain(length)
    head = head_of(entries)
    first = data.draw(st.integers(1, length))
    last = data.draw(st.integers(first, length))
    del entries[first - 1 : last]
    assert found(verify(entries, head)) == ("removed", first)


@given(data=st.data(), length=st.integers(2, 12))
def test_any_two_entries_out_of_order_are_named(data: st.DataObject, length: int) -> None:
    entries = chain(length)
    head = head_of(entries)
    first = data.draw(st.integers(1, length - 1))
    second = data.draw(st.integers(first + 1, length))
    one, other = entries[first - 1], entries[second - 1]
    entries[first - 1], entries[second - 1] = other, one
    assert found(verify(entries, head)) == ("removed", first)
    one.seq, other.seq = other.seq, one.seq
    assert found(verify(entries, head)) == ("changed", first)


@given(data=st.data(), length=st.integers(1, 12))
def test_an_entry_that_was_put_in_is_named(data: st.DataObject, length: int) -> None:
    entries = chain(length)
    head = head_of(entries)
    seq = data.draw(st.integers(1, length))
    entries.insert(seq, copy.copy(entries[seq - 1]))
    assert found(verify(entries, head)) == ("moved", seq)


@given(length=st.integers(0, 12))
def test_an_untouched_chain_of_any_length_is_whole(length: int) -> None:
    entries = chain(length)
    assert verify(entries, head_of(entries) if entries else None) is None
