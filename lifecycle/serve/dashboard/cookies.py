"""The dashboard's two cookies: the session's, and the one of a browser that is signing in.

Over TLS their names begin with ``__Host-``: the browser then takes them from this very host
alone, over TLS alone, for the whole site (RFC 6265bis, 4.1.3.2). ``Lax`` and not ``Strict``,
because the way back from an OIDC provider begins at another site.
"""

from __future__ import annotations

from fastapi import Request, Response

_SESSION = "pushcert"
_BROWSER = "pushcert-sign-in"
BROWSER_SECONDS = 3600
"""How long a sign-in page may stay open."""


def session_cookie(request: Request, *, encrypted: bool) -> str | None:
    """The token of the session, or None."""
    return request.cookies.get(_name(_SESSION, encrypted))


def browser_cookie(request: Request, *, encrypted: bool) -> str | None:
    """The token of a browser that has been at the sign-in page, or None."""
    return request.cookies.get(_name(_BROWSER, encrypted))


def set_session(response: Response, token: str, seconds: int, *, encrypted: bool) -> None:
    """Signs the browser in; it was at the sign-in page for the last time."""
    _set(response, _SESSION, token, seconds, encrypted)
    _set(response, _BROWSER, "", 0, encrypted)


def set_browser(response: Response, token: str, *, encrypted: bool) -> None:
    """Knows the browser again when it sends the form, or comes back from the provider."""
    _set(response, _BROWSER, token, BROWSER_SECONDS, encrypted)


def clear_session(response: Response, *, encrypted: bool) -> None:
    """Signs the browser out."""
    _set(response, _SESSION, "", 0, encrypted)


def _name(plain: str, encrypted: bool) -> str:
    return f"__Host-{plain}" if encrypted else plain


def _set(response: Response, plain: str, value: str, seconds: int, encrypted: bool) -> None:
    response.set_cookie(
        _name(plain, encrypted),
        value,
        max_age=seconds,
        path="/",
        secure=encrypted,
        httponly=True,
        samesite="lax",
    )
