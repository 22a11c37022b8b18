"""What binds the way to the OIDC provider and the way back to one browser. Pure.

Nothing is stored for somebody who is not signed in: state, nonce and PKCE verifier are derived
from the token in that browser's cookie, which nobody else has. The state names the time and the
page to come back to, under a code that only the token can make.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import secrets
from binascii import Error as Base64Error
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from lifecycle.errors import Refused, refuse

GOOD_FOR = timedelta(minutes=15)
"""A person may have to find their second factor."""
_SKEW = timedelta(minutes=1)
"""Between the clocks of two ``serve`` processes."""


@dataclass(frozen=True, slots=True)
class RoundTrip:
    """One sign-in at the provider.

    Attributes:
        state: goes there and comes back (RFC 6749, 10.12).
        nonce: must be in the ID token (OpenID Connect Core, 3.1.2.1).
        verifier: proves that who redeems the code has asked for it (RFC 7636).
        back_to: the page to go to in the end.
    """

    state: str
    nonce: str = field(repr=False)
    verifier: str = field(repr=False)
    back_to: str


def departing(browser: str, back_to: str, now: datetime) -> RoundTrip:
    """A new round trip of the browser that holds this token."""
    said = json.dumps([int(now.timestamp()), secrets.token_hex(8), back_to])
    body = base64.urlsafe_b64encode(said.encode()).decode().rstrip("=")
    return _round_trip(browser, f"{body}.{_derived(browser, 'state', body)}", back_to)


def returning(browser: str | None, state: str, now: datetime) -> RoundTrip:
    """The round trip that ends in this browser with this state.

    Raises:
        Refused: ``sign_in_not_begun_here``, ``sign_in_took_too_long``.
    """
    body, _, code = state.partition(".")
    if not browser or not hmac.compare_digest(
        code.encode(), _derived(browser, "state", body).encode()
    ):
        raise _not_begun_here()
    try:
        begun, _, back_to = _read(body)
        departed = datetime.fromtimestamp(int(begun), UTC)
    except (ValueError, TypeError, Base64Error):
        raise _not_begun_here() from None
    if not departed - _SKEW <= now <= departed + GOOD_FOR:
        raise refuse(
            "sign_in_took_too_long",
            f"The sign-in was begun at {departed:%H:%M} UTC and is no longer good.",
            "Begin again at the sign-in page.",
        )
    return _round_trip(browser, state, str(back_to))


def _not_begun_here() -> Refused:
    return refuse(
        "sign_in_not_begun_here",
        "This sign-in was not begun in this browser.",
        "Begin again at the sign-in page, and let the browser keep its cookies.",
    )


def _round_trip(browser: str, state: str, back_to: str) -> RoundTrip:
    return RoundTrip(
        state, _derived(browser, "nonce", state), _derived(browser, "verifier", state), back_to
    )


def _derived(browser: str, what: str, of: str) -> str:
    return hmac.new(browser.encode(), f"{what} {of}".encode(), hashlib.sha256).hexdigest()


def _read(body: str) -> list[Any]:
    padded = body + "=" * (-len(body) % 4)
    read = json.loads(base64.urlsafe_b64decode(padded.encode()))
    if not isinstance(read, list):
        raise TypeError("the state is no list")
    return read
