"""What a browser says of itself: host, origin, prefix, where it wants to go back to."""

from __future__ import annotations

from datetime import UTC, datetime

from starlette.datastructures import Headers

from fuzz.harness import joined, refusals, split
from lifecycle.serve.dashboard.access import own_path
from lifecycle.serve.dashboard.round_trip import departing, returning
from lifecycle.setup_page.guard import Doorkeeper

PARSERS = (
    "lifecycle.setup_page.guard.Doorkeeper.prefix",
    "lifecycle.setup_page.guard.Doorkeeper.knows",
    "lifecycle.setup_page.guard.Doorkeeper.accepts_form",
    "lifecycle.serve.dashboard.access.own_path",
    "lifecycle.serve.dashboard.round_trip.returning",
)
LONGEST = 1024
WEIGHT = 4
_DOOR = Doorkeeper.of("https://setup.example/mdm", ["10.0.0.0/8"])
_NOW = datetime(2027, 6, 1, tzinfo=UTC)


def one(data: bytes) -> None:
    """An answer to each; nobody is sent to another site."""
    host, origin, forwarded, state = (part.decode("latin-1") for part in split(data, 4))
    _DOOR.knows(host)
    _DOOR.accepts_form(Headers({"host": host, "origin": origin}))
    prefix = _DOOR.prefix("10.1.2.3", forwarded)
    assert prefix.startswith("/")
    assert not prefix.startswith("//")
    _DOOR.prefix(host, forwarded)
    path = own_path(origin)
    assert path.startswith("/")
    assert not path.startswith("//")
    with refusals():
        returning("browser", state, _NOW)
    trip = departing("browser", path, _NOW)
    assert returning("browser", trip.state, _NOW) == trip


def seeds() -> dict[str, bytes]:
    """Good ones, addresses, other sites."""
    state = departing("browser", "/customers", _NOW).state.encode()
    return {
        "good": joined(b"setup.example", b"https://setup.example", b"/mdm/setup", state),
        "address": joined(b"[::1]:8444", b"http://[::1]:8444", b"/a/../b", b"e30.00"),
        "other": joined(b"evil.example:80", b"null", b"//evil", b"."),
        "path": joined(b"x", b"/customers?x=1", b"/", b""),
    }
