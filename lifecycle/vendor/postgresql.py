"""PostgreSQL as the vendor's database: how it is reached, and which of its faults may pass.

Loaded only where the configuration names it. The password never is in the URL: it is fetched
for each connection, so that one that is changed counts from the next connection on.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from sqlalchemy import Engine, create_engine, event
from sqlalchemy.engine import URL
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.pool import ConnectionPoolEntry

from lifecycle.errors import refuse

DRIVER = "postgresql+psycopg"

SETTINGS: Mapping[str, str] = MappingProxyType(
    {
        # A transaction that waits for another's row waits as long as SQLite's would.
        "lock_timeout": "30s",
        # One whose process is frozen, or cut off, must not hold its rows for ever.
        "idle_in_transaction_session_timeout": "5min",
        # How an instant is written as text (``report_groups``).
        "DateStyle": "ISO",
    }
)
"""What every connection sets for itself."""

CONNECTING: Mapping[str, str] = MappingProxyType(
    {
        "application_name": "pushcert",
        "connect_timeout": "10",
        # A server that has gone without a word is noticed within half a minute.
        "keepalives_idle": "10",
        "keepalives_interval": "5",
        "keepalives_count": "4",
        "tcp_user_timeout": "30000",
    }
)
"""What libpq is told, where the URL does not say otherwise."""

_READ_ONLY = "25006"
"""A primary that has become a standby says so, to whoever is still connected."""
_TIMED_OUT_IDLE = "25P03"
_LONGEST_SENTENCE = 300


def make_engine(url: URL, password: Callable[[], str] | None) -> Engine:
    """An engine whose connections check that they still live before they are used.

    Raises:
        Refused: ``postgresql_driver_missing``.
    """
    if url.drivername == "postgresql":
        url = url.set(drivername=DRIVER)
    told = {name: value for name, value in CONNECTING.items() if name not in url.query}
    try:
        engine = create_engine(url, pool_pre_ping=True, hide_parameters=True, connect_args=told)
    except ModuleNotFoundError:
        raise refuse(
            "postgresql_driver_missing",
            "The vendor's database is a PostgreSQL, and its driver is not installed.",
            "Run `pip install 'pushcert[postgres]'`.",
        ) from None
    if password is not None:

        def give_password(
            _dialect: object, _record: object, _args: object, named: dict[str, Any]
        ) -> None:
            named["password"] = password()

        event.listen(engine, "do_connect", give_password)
    event.listen(engine, "connect", _configure)
    return engine


def _configure(connection: DBAPIConnection, _record: ConnectionPoolEntry) -> None:
    cursor = connection.cursor()
    for name, value in SETTINGS.items():
        cursor.execute(f"SET {name} = '{value}'")
    cursor.close()
    connection.commit()


def may_pass(error: DBAPIError) -> bool:
    """Whether the same may work at another time: the server is away, full, busy, or failing
    over; two transactions were in each other's way. Not what a statement is wrong about."""
    if isinstance(error, OperationalError | InterfaceError) or error.connection_invalidated:
        return True
    return getattr(error.orig, "sqlstate", None) in (_READ_ONLY, _TIMED_OUT_IDLE)


def sentence(error: DBAPIError) -> str:
    """What the server or the driver said, in a line, without what the statement carried.

    Of a server's answer the primary message alone: detail, hint and context may quote values.
    """
    said = getattr(getattr(error.orig, "diag", None), "message_primary", None)
    text = said or str(error.orig).partition("\nDETAIL")[0]
    return " ".join(str(text).split())[:_LONGEST_SENTENCE]
