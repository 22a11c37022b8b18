"""Signing in through the OpenID Connect provider: the way there, and the way back."""

from __future__ import annotations

from http import HTTPStatus

from fastapi import Response
from fastapi.responses import RedirectResponse

from lifecycle.errors import Finding, Refused
from lifecycle.serve.dashboard.access import Needs, Pages, own_path
from lifecycle.serve.dashboard.cookies import browser_cookie, set_browser
from lifecycle.serve.dashboard.errors import Forbidden, Missing
from lifecycle.serve.dashboard.person import Person
from lifecycle.serve.dashboard.provider import RETURN_PATH, Provider
from lifecycle.serve.dashboard.round_trip import departing, returning
from lifecycle.serve.dashboard.sign_in import require_encrypted, welcome
from lifecycle.serve.dashboard.visit import Visit, Visiting
from lifecycle.vendor import audit, sessions
from lifecycle.vendor.failed_sign_ins import site_of
from lifecycle.vendor.password_sign_in import note_sign_in
from lifecycle.vendor.sessions import SignedIn, new_token
from lifecycle.vendor.users import Role, actor_of

oidc = Pages()


@oidc.show("/sign-in/oidc", Needs.PUBLIC)
def goes_to_the_provider(visit: Visiting, next: str = "/") -> Response:
    """Sends the browser to the provider. A link and no form: it changes nothing here."""
    provider = _provider(visit)
    require_encrypted(visit)
    browser = browser_cookie(visit.request, encrypted=visit.encrypted) or new_token()
    trip = departing(browser, own_path(next), visit.now)
    url = provider.authorization_url(trip, visit.now)
    response = RedirectResponse(url, HTTPStatus.SEE_OTHER)
    set_browser(response, browser, encrypted=visit.encrypted)
    return response


@oidc.show(RETURN_PATH, Needs.PUBLIC)
def comes_back(
    visit: Visiting,
    state: str = "",
    code: str = "",
    error: str = "",
    iss: str | None = None,
) -> Response:
    """Takes in what the provider sends the browser back with."""
    provider = _provider(visit)
    require_encrypted(visit)
    browser = browser_cookie(visit.request, encrypted=visit.encrypted)
    trip = returning(browser, state, visit.now)
    if iss is not None and iss != provider.issuer:
        # RFC 9207: the answer is another provider's.
        raise Refused(
            Finding(
                "oidc_refused",
                "The answer comes from another provider than the one that was asked.",
                "Begin again at the sign-in page.",
            )
        )
    if error or not code:
        raise Forbidden(
            "The provider did not sign you in"
            + (f" ({error[:60]})." if error.isascii() and error.isprintable() and error else "."),
            "Begin again at the sign-in page.",
        )
    person = provider.person(code, trip, visit.now)
    return welcome(visit, _signed_in(visit, provider, person), own_path(trip.back_to))


def _signed_in(visit: Visit, provider: Provider, person: Person) -> SignedIn:
    with visit.served.database.transaction() as session:
        if person.role is not None:
            signed_in = sessions.begin(
                session,
                person.name,
                Role(person.role),
                local=False,
                at=visit.now,
                hours=visit.config.serve.session_hours,
            )
            how: dict[str, object] = {"with": provider.issuer, "subject": person.subject}
            note_sign_in(session, signed_in, visit.address, visit.now, how)
            return signed_in
        actor = actor_of(person.name)
        audit.append(
            session,
            at=visit.now,
            actor=actor,
            action="sign_in_refused",
            subject=actor,
            detail={
                "with": provider.issuer,
                "subject": person.subject,
                "address": site_of(visit.address),
            },
        )
    raise Forbidden(
        f"{person.name} has neither the role of a viewer nor of an operator here.",
        f"Ask whoever keeps {provider.issuer} for a group that oidc.viewers or oidc.operators"
        " of config.toml names.",
    )


def _provider(visit: Visit) -> Provider:
    if visit.desk.provider is None:
        raise Missing(
            "There is no OpenID Connect provider here.", "Sign in with name and password."
        )
    return visit.desk.provider
