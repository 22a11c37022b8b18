"""Users, their passwords and sessions: what is kept, what it gives, and what ends it."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from argon2 import PasswordHasher
from argon2.profiles import CHEAPEST
from sqlmodel import Session, select

from lifecycle.errors import Refused
from lifecycle.vendor import sessions, users
from lifecycle.vendor.access_models import FailedSignIn, UserAccount, UserSession
from lifecycle.vendor.database import Database
from lifecycle.vendor.failed_sign_ins import BY_NAME, WINDOW, Attempt, Closed, book, site_of
from lifecycle.vendor.migrations import upgrade
from lifecycle.vendor.models import AuditEntry
from lifecycle.vendor.password_sign_in import sign_in
from lifecycle.vendor.users import Passwords, Role

NOW = datetime(2027, 3, 1, 9, tzinfo=UTC)
PASSWORD = "correct horse battery staple"


@pytest.fixture(scope="module")
def passwords() -> Passwords:
    return Passwords()


@pytest.fixture(scope="module")
def hashed(passwords: Passwords) -> str:
    return passwords.hash(PASSWORD)


@pytest.fixture
def database(tmp_path: Path, hashed: str) -> Iterator[Database]:
    url = f"sqlite:///{tmp_path / 'vendor.sqlite'}"
    upgrade(url)
    made = Database(url)
    with made.transaction() as session:
        users.add(session, "anna", Role.OPERATOR, hashed, at=NOW, actor="operator:root")
    yield made
    made.close()


def test_a_password_is_kept_as_argon2id_with_memory_that_hurts_a_guesser(hashed: str) -> None:
    assert hashed.startswith("$argon2id$v=19$m=47104,t=1,p=1$")


def test_a_password_fits_its_own_hash_and_nothing_else(passwords: Passwords, hashed: str) -> None:
    assert passwords.fits(PASSWORD, hashed)
    for wrong in (PASSWORD.upper(), PASSWORD[:-1], f"{PASSWORD} ", "", "x" * 5000):
        assert not passwords.fits(wrong, hashed), wrong
    assert not passwords.fits(PASSWORD, None)
    assert not passwords.fits(PASSWORD, "no hash at all")


@pytest.mark.parametrize(
    ("password", "code"),
    [
        ("short", "password_too_short"),
        ("x" * 1025, "password_too_long"),
        ("é" * 600, "password_too_long"),
        ("aaaaaaaaaaaaaaaa", "password_guessable"),
        ("wilhelmina-x", "password_guessable"),
        ("Wilhelmina-X", "password_guessable"),
    ],
)
def test_a_password_that_is_no_good_is_refused(password: str, code: str) -> None:
    with pytest.raises(Refused) as refused:
        users.check_password(password, "wilhelmina-x")
    assert refused.value.codes == (code,)
    assert password not in str(refused.value)


@pytest.mark.parametrize("name", ["", "Anna", "an na", "anna@vendor.example", "-anna", "a" * 65])
def test_a_name_that_could_be_another_kind_of_actors_is_refused(
    database: Database, name: str
) -> None:
    """``user:anna`` in the audit log must be one person."""
    with pytest.raises(Refused) as refused, database.transaction() as session:
        users.add(session, name, Role.VIEWER, "x", at=NOW, actor="operator:root")
    assert refused.value.codes == ("user_name_malformed",)


def test_a_name_is_given_once(database: Database) -> None:
    with pytest.raises(Refused) as refused, database.transaction() as session:
        users.add(session, "anna", Role.VIEWER, "x", at=NOW, actor="operator:root")
    assert refused.value.codes == ("user_taken",)


def signed_in(database: Database, passwords: Passwords, at: datetime = NOW) -> sessions.SignedIn:
    found = sign_in(database, passwords, "anna", PASSWORD, "192.0.2.1", now=at, hours=12)
    assert isinstance(found, sessions.SignedIn)
    return found


def test_a_session_is_found_by_its_token_until_it_ends(
    database: Database, passwords: Passwords
) -> None:
    made = signed_in(database, passwords)
    assert made.token not in repr(made)
    with database.reading() as session:
        assert sessions.find(session, made.token, NOW) == made
        assert sessions.find(session, made.token + "x", NOW) is None
        row = session.exec(select(UserSession)).one()
        assert made.token not in str(row.model_dump())
        assert sessions.find(session, row.token_hash, NOW) is None, "the hash opens nothing"
        end = NOW + timedelta(hours=12)
        assert sessions.find(session, made.token, end - timedelta(seconds=1)) is not None
        assert sessions.find(session, made.token, end) is None


def test_sessions_that_have_ended_are_cleared_away(
    database: Database, passwords: Passwords
) -> None:
    signed_in(database, passwords)
    later = signed_in(database, passwords, NOW + timedelta(hours=13))
    with database.reading() as session:
        assert len(session.exec(select(UserSession)).all()) == 1
        assert sessions.find(session, later.token, NOW + timedelta(hours=13)) is not None


def test_a_forms_token_is_the_sessions_own(database: Database, passwords: Passwords) -> None:
    one, other = signed_in(database, passwords), signed_in(database, passwords)
    assert one.form_token == sessions.form_token(one.token)
    assert one.form_token != other.form_token
    assert one.token not in one.form_token


def test_disabling_and_enabling_is_told_and_done_once(
    database: Database, passwords: Passwords
) -> None:
    signed_in(database, passwords)
    with database.transaction() as session:
        anna = users.user_by_name(session, "anna")
        assert users.disable(session, anna, at=NOW, actor="operator:root")
        assert not users.disable(session, anna, at=NOW, actor="operator:root")
    found = sign_in(database, passwords, "anna", PASSWORD, "192.0.2.1", now=NOW, hours=12)
    assert found is None
    with database.transaction() as session:
        anna = users.user_by_name(session, "anna")
        assert users.enable(session, anna, at=NOW, actor="operator:root")
        assert not users.enable(session, anna, at=NOW, actor="operator:root")
        assert users.set_role(session, anna, Role.VIEWER, at=NOW, actor="operator:root")
        assert not users.set_role(session, anna, Role.VIEWER, at=NOW, actor="operator:root")
        entries = session.exec(select(AuditEntry)).all()
    assert [e.action for e in entries] == [
        *("user_added", "signed_in", "user_disabled", "user_enabled", "user_role_set"),
    ]
    assert entries[2].detail == {"sessions_ended": 1}
    assert entries[4].detail == {"role": ["operator", "viewer"]}
    signed_in(database, passwords)


def test_a_hash_of_other_costs_is_made_anew_at_the_next_sign_in(
    database: Database, passwords: Passwords
) -> None:
    old = PasswordHasher.from_parameters(CHEAPEST).hash(PASSWORD)
    with database.transaction() as session:
        session.get_one(UserAccount, "anna").password_hash = old
    signed_in(database, passwords)
    with database.reading() as session:
        kept = session.get_one(UserAccount, "anna").password_hash
    assert kept.startswith("$argon2id$v=19$m=47104")
    assert passwords.fits(PASSWORD, kept)


def test_a_session_is_no_use_to_a_user_who_is_disabled_however_that_came_about(
    database: Database, passwords: Passwords
) -> None:
    """`disable` ends the sessions as well; this is what holds if one is begun at that moment."""
    made = signed_in(database, passwords)
    with database.transaction() as session:
        session.get_one(UserAccount, "anna").disabled_at = NOW
    with database.reading() as session:
        assert sessions.find(session, made.token, NOW) is None


# Too many tries


def booked(session: Session, name: str, address: str, at: datetime = NOW) -> bool:
    return isinstance(book(session, name, address, at), Attempt)


def test_the_window_slides(database: Database) -> None:
    """Each failure counts for a quarter of an hour of its own."""
    with database.transaction() as session:
        for minute in range(BY_NAME):
            assert booked(session, "anna", "192.0.2.1", NOW + timedelta(minutes=minute))
        closed = book(session, "anna", "192.0.2.2", NOW + timedelta(minutes=10))
        assert closed == Closed(NOW + WINDOW)
        assert booked(session, "anna", "192.0.2.1", NOW + WINDOW)
        assert not booked(session, "anna", "192.0.2.1", NOW + WINDOW)


def test_attempts_are_forgotten_after_a_day(database: Database) -> None:
    with database.transaction() as session:
        booked(session, "anna", "192.0.2.1")
        booked(session, "bert", "192.0.2.1", NOW + timedelta(days=1, seconds=1))
        assert [row.name for row in session.exec(select(FailedSignIn))] == ["bert"]


@pytest.mark.parametrize(
    ("address", "site"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("unknown", "unknown"),
        ("x" * 100, "x" * 64),
    ],
)
def test_who_has_one_ipv6_address_has_the_whole_network(address: str, site: str) -> None:
    assert site_of(address) == site


def test_many_tries_at_one_time_from_many_processes_are_no_way_round_the_limit(
    database: Database, passwords: Passwords
) -> None:
    """Booked before the password is looked at: with two databases, as two processes have."""
    other = Database(str(database.url))
    wrong = "wrong horse battery staple"

    def attempt(number: int) -> object:
        of = database if number % 2 else other
        return sign_in(of, passwords, "anna", wrong, f"192.0.2.{number}", now=NOW, hours=12)

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(attempt, range(16)))
    other.close()
    assert sum(answer is None for answer in answers) == BY_NAME
    assert sum(isinstance(answer, Closed) for answer in answers) == 16 - BY_NAME
