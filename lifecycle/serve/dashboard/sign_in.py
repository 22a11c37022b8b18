"""The sign-in page, the way out, and a user's own password."""

from __future__ import annotations

from http import HTTPStatus
from typing import Annotated

from fastapi import Form, Response
from fastapi.responses import RedirectResponse

from lifecycle.errors import Finding, Refused
from lifecycle.serve.dashboard.access import Needs, Pages, own_path
from lifecycle.serve.dashboard.client import is_loopback
from lifecycle.serve.dashboard.cookies import (
    browser_cookie,
    clear_session,
    session_cookie,
    set_browser,
    set_session,
)
from lifecycle.serve.dashboard.errors import Forbidden
from lifecycle.serve.dashboard.rendering import page
from lifecycle.serve.dashboard.visit import Visit, Visiting
from lifecycle.vendor import users
from lifecycle.vendor.failed_sign_ins import Closed, book, failed
from lifecycle.vendor.password_sign_in import sign_in, sign_out
from lifecycle.vendor.sessions import SignedIn, end, form_token, new_token

signing_in = Pages()
_WRONG = Finding(
    "sign_in_wrong",
    "Name or password is wrong.",
    "Try again; whoever keeps the users can give you a new password with `pushcert user password`.",
)


@signing_in.show("/sign-in", Needs.PUBLIC)
def sign_in_page(visit: Visiting, next: str = "/") -> Response:
    """The page on which one signs in."""
    if visit.signed_in is not None:
        return RedirectResponse(own_path(next), HTTPStatus.SEE_OTHER)
    return _form(visit, own_path(next))


@signing_in.do("/sign-in", Needs.PUBLIC)
def signs_in(
    visit: Visiting,
    name: Annotated[str, Form(max_length=200)] = "",
    password: Annotated[str, Form(max_length=4096)] = "",
    next: Annotated[str, Form(max_length=600)] = "/",
) -> Response:
    """Signs in with name and password, under a new session whatever the browser had."""
    require_encrypted(visit)
    found = sign_in(
        visit.served.database,
        visit.desk.passwords,
        name,
        password,
        visit.address,
        now=visit.now,
        hours=visit.config.serve.session_hours,
    )
    back_to = own_path(next)
    if isinstance(found, SignedIn):
        return welcome(visit, found, back_to)
    if isinstance(found, Closed):
        response = _form(visit, back_to, name, _closed(found), HTTPStatus.TOO_MANY_REQUESTS)
        seconds = max(1, int((found.until - visit.now).total_seconds()))
        response.headers["Retry-After"] = str(seconds)
        return response
    return _form(visit, back_to, name, _WRONG, HTTPStatus.FORBIDDEN)


@signing_in.do("/sign-out", Needs.VIEWER)
def signs_out(visit: Visiting) -> Response:
    """Ends the session."""
    if visit.signed_in is not None:
        with visit.served.database.transaction() as session:
            sign_out(session, visit.signed_in, at=visit.now)
    response = RedirectResponse("/sign-in", HTTPStatus.SEE_OTHER)
    clear_session(response, encrypted=visit.encrypted)
    return response


@signing_in.show("/account", Needs.VIEWER)
def account(visit: Visiting) -> Response:
    """Who one is here, and the form for another password."""
    return page(visit, "account.html.j2", section="account", findings=(), shortest=_SHORTEST)


@signing_in.do("/account", Needs.VIEWER)
def changes_password(
    visit: Visiting,
    old: Annotated[str, Form(max_length=4096)] = "",
    new: Annotated[str, Form(max_length=4096)] = "",
    again: Annotated[str, Form(max_length=4096)] = "",
) -> Response:
    """Gives the user another password and signs them out everywhere."""
    person = visit.signed_in
    if person is None or not person.local:
        raise Forbidden(
            "You signed in through the OpenID Connect provider; pushcert has no password of yours.",
            "Change it there.",
        )
    try:
        _change(visit, person, old, new, again)
    except Refused as refused:
        return page(
            visit,
            "account.html.j2",
            status=HTTPStatus.UNPROCESSABLE_ENTITY,
            section="account",
            findings=refused.findings,
            shortest=_SHORTEST,
        )
    response = RedirectResponse("/sign-in", HTTPStatus.SEE_OTHER)
    clear_session(response, encrypted=visit.encrypted)
    return response


_SHORTEST = users.SHORTEST_PASSWORD


def _change(visit: Visit, person: SignedIn, old: str, new: str, again: str) -> None:
    passwords, database = visit.desk.passwords, visit.served.database
    if new != again:
        raise Refused(
            Finding("password_differs", "The two new passwords differ.", "Type them again.")
        )
    users.check_password(new, person.user)
    with database.transaction() as session:
        kept = users.user_by_name(session, person.user).password_hash
        attempt = book(session, person.user, visit.address, visit.now)
    if isinstance(attempt, Closed):
        raise Refused(_closed(attempt))
    if not passwords.fits(old, kept):
        with database.transaction() as session:
            failed(session, attempt, at=visit.now)
        raise Refused(Finding("sign_in_wrong", "The old password is wrong.", "Type it again."))
    hashed = passwords.hash(new)
    with database.transaction() as session:
        found = users.user_by_name(session, person.user)
        users.set_password(session, found, hashed, at=visit.now, actor=visit.actor)


def welcome(visit: Visit, signed_in: SignedIn, back_to: str) -> Response:
    """The answer that signs the browser in; a session that it had before is ended."""
    before = session_cookie(visit.request, encrypted=visit.encrypted)
    if before:
        with visit.served.database.transaction() as session:
            end(session, before)
    response = RedirectResponse(back_to, HTTPStatus.SEE_OTHER)
    seconds = visit.config.serve.session_hours * 3600
    set_session(response, signed_in.token, seconds, encrypted=visit.encrypted)
    return response


def require_encrypted(visit: Visit) -> None:
    """Raises ``Forbidden``: a password or a session would go over the network in the clear."""
    if not visit.encrypted and not is_loopback(visit.address):
        raise Forbidden(
            "This page came without TLS, so that others could read what you type.",
            "Use the https:// address. Whoever keeps `pushcert serve`: set serve.certificate, or"
            " serve.public_url and serve.trusted_proxies for a proxy that does TLS.",
        )


def _form(
    visit: Visit,
    back_to: str,
    name: str = "",
    finding: Finding | None = None,
    status: HTTPStatus = HTTPStatus.OK,
) -> Response:
    browser = browser_cookie(visit.request, encrypted=visit.encrypted) or new_token()
    response = page(
        visit,
        "sign_in.html.j2",
        status=status,
        token=form_token(browser),
        back_to=back_to,
        name=name[:64],
        findings=() if finding is None else (finding,),
        oidc=None if visit.desk.provider is None else visit.desk.provider.issuer,
    )
    set_browser(response, browser, encrypted=visit.encrypted)
    return response


def _closed(closed: Closed) -> Finding:
    return Finding(
        "sign_in_closed",
        "There were too many wrong passwords for this name or from this address.",
        f"Try again after {closed.until:%H:%M} UTC.",
    )
