"""The OpenID Connect provider, as the dashboard uses it: authorization code flow with PKCE.

What it says of itself (discovery) is kept for an hour; its keys are asked for at each sign-in,
so that a new key is known at once.
"""

from __future__ import annotations

import json
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, cast
from urllib.parse import quote

import httpx
import structlog

from lifecycle.config import Config, OidcSection
from lifecycle.errors import Refused, Unavailable, refuse
from lifecycle.passphrase import resolve
from lifecycle.secret import secret_source
from lifecycle.serve.dashboard.person import Person, person_of, values_of
from lifecycle.serve.dashboard.round_trip import RoundTrip

log = structlog.get_logger(__name__)

RETURN_PATH = "/sign-in/oidc/return"
TIMEOUT_SECONDS = 10.0
MAX_ANSWER = 1024 * 1024
"""Metadata, keys and claims have some kilobytes."""
KEPT = timedelta(hours=1)
SKEW_SECONDS = 120
"""Between the provider's clock and ours."""
ALGORITHMS = (
    *("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"),
    *("ES256", "ES384", "ES512", "EdDSA"),
)
"""Of the signature of an ID token: public keys alone, whatever the token itself says."""


@dataclass(slots=True)
class Provider:
    """The provider that the configuration names.

    Attributes:
        section: its part of the configuration.
        return_to: where it sends people back to.
        secret: gives the client's secret; None: a public client, PKCE is all it has.
        tls: what its certificate is judged by.
    """

    section: OidcSection
    return_to: str
    secret: Callable[[], str] | None
    tls: ssl.SSLContext | bool
    _metadata: dict[str, Any] = field(default_factory=dict)
    _read_at: datetime | None = None

    @property
    def issuer(self) -> str:
        """As configured, and as it must call itself."""
        return self.section.issuer or ""

    def authorization_url(self, trip: RoundTrip, now: datetime) -> str:
        """Where a browser signs in.

        Raises:
            Unavailable: the provider does not answer, or not with its metadata.
        """
        from authlib.oauth2.rfc6749.parameters import prepare_grant_uri
        from authlib.oauth2.rfc7636 import create_s256_code_challenge

        return str(
            prepare_grant_uri(
                self._endpoint("authorization_endpoint", now),
                self.section.client_id,
                "code",
                redirect_uri=self.return_to,
                scope=" ".join(self.section.scopes),
                state=trip.state,
                nonce=trip.nonce,
                code_challenge=create_s256_code_challenge(trip.verifier),
                code_challenge_method="S256",
            )
        )

    def person(self, code: str, trip: RoundTrip, now: datetime) -> Person:
        """Redeems the code that a browser came back with; the ID token is checked.

        Raises:
            Refused: ``oidc_refused``: code or ID token is not good.
            Unavailable: the provider does not answer.
        """
        with self._client() as client:
            tokens = self._redeem(client, code, trip, now)
            claims = self._checked(client, tokens, trip, now)
            if not values_of(claims, self.section):
                # Some providers put groups into the answer of userinfo alone.
                claims = {**self._userinfo(client, tokens, claims, now), **claims}
        return person_of(claims, self.section)

    def _redeem(
        self, client: httpx.Client, code: str, trip: RoundTrip, now: datetime
    ) -> dict[str, Any]:
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": self.return_to,
            "code_verifier": trip.verifier,
            "client_id": self.section.client_id or "",
        }
        auth: httpx.Auth = httpx.Auth()  # none
        if self.secret is not None:
            known = self._metadata.get("token_endpoint_auth_methods_supported")
            if isinstance(known, list) and "client_secret_basic" not in known:
                form["client_secret"] = self.secret()
            else:
                # RFC 6749, 2.3.1: both are form-encoded before they are joined.
                name, secret = self.section.client_id or "", self.secret()
                auth = httpx.BasicAuth(quote(name, safe=""), quote(secret, safe=""))
        url = self._endpoint("token_endpoint", now)
        answer = self._asked(client, "POST", url, data=form, auth=auth)
        if answer.status_code >= 500:
            raise self._no_use("its token endpoint has trouble")
        found = self._document(answer)
        if answer.is_error or not isinstance(found.get("id_token"), str):
            said = found.get("error")
            known = said if isinstance(said, str) and said.isascii() else "no ID token"
            raise self._refused(f"it did not take the code ({str(known)[:60]})")
        return found

    def _checked(
        self, client: httpx.Client, tokens: Mapping[str, Any], trip: RoundTrip, now: datetime
    ) -> dict[str, Any]:
        """The claims of the ID token (OpenID Connect Core, 3.1.3.7)."""
        from authlib.oidc.core import CodeIDToken
        from joserfc import jwt
        from joserfc.errors import JoseError
        from joserfc.jwk import KeySet

        url = self._endpoint("jwks_uri", now)
        keys = self._document(self._asked(client, "GET", url))
        try:
            token = jwt.decode(
                tokens["id_token"], KeySet.import_key_set(cast(Any, keys)), list(ALGORITHMS)
            )
            claims = CodeIDToken(
                token.claims,
                token.header,
                options={
                    "iss": {"essential": True, "value": self.issuer},
                    "aud": {"essential": True, "value": self.section.client_id},
                },
                params={
                    "nonce": trip.nonce,
                    "client_id": self.section.client_id,
                    "access_token": tokens.get("access_token"),
                },
            )
            claims.validate(now=int(now.timestamp()), leeway=SKEW_SECONDS)
        except (JoseError, ValueError, KeyError, TypeError) as error:
            # The error's type says which check failed; its text could quote the token.
            log.warning("id_token_refused", error=type(error).__name__)
            raise self._refused("its ID token is not good") from None
        if not isinstance(claims.get("sub"), str):
            raise self._refused("its ID token names nobody")
        return dict(claims)

    def _userinfo(
        self,
        client: httpx.Client,
        tokens: Mapping[str, Any],
        claims: Mapping[str, Any],
        now: datetime,
    ) -> dict[str, Any]:
        token = tokens.get("access_token")
        url = self._discovered(now).get("userinfo_endpoint")
        if not isinstance(url, str) or not isinstance(token, str):
            return {}
        headers = {"Authorization": f"Bearer {token}"}
        answer = self._asked(client, "GET", url, headers=headers)
        if answer.is_error:
            return {}
        found = self._document(answer)
        # Without this another person's answer could be slipped in (Core, 5.3.2).
        return found if found.get("sub") == claims["sub"] else {}

    def _endpoint(self, name: str, now: datetime) -> str:
        url = self._discovered(now).get(name)
        if not isinstance(url, str) or not url.startswith(("https://", "http://")):
            raise self._no_use(f"it names no {name}")
        return url

    def _discovered(self, now: datetime) -> dict[str, Any]:
        if self._read_at is None or not timedelta() <= now - self._read_at < KEPT:
            url = self.issuer.rstrip("/") + "/.well-known/openid-configuration"
            with self._client() as client:
                found = self.discovered(self._asked(client, "GET", url))
            self._metadata, self._read_at = found, now
        return self._metadata

    def discovered(self, answer: httpx.Response) -> dict[str, Any]:
        """What the provider says of itself (OpenID Connect Discovery, 4.3).

        Raises:
            Unavailable: it is not that, or somebody else's.
        """
        found = self._document(answer)
        if found.get("issuer") != self.issuer:
            raise self._no_use("it calls itself by another name than oidc.issuer")
        return found

    def _client(self) -> httpx.Client:
        return httpx.Client(verify=self.tls, timeout=TIMEOUT_SECONDS, trust_env=True)

    def _asked(self, client: httpx.Client, method: str, url: str, **more: Any) -> httpx.Response:
        content = bytearray()
        try:
            with client.stream(method, url, **more) as answer:
                for part in answer.iter_bytes():
                    content += part
                    if len(content) > MAX_ANSWER:
                        raise self._no_use("its answer is far too large")
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            log.warning("oidc_unreachable", error=type(error).__name__)
            raise self._no_use("it does not answer") from None
        return httpx.Response(answer.status_code, content=bytes(content))

    def _document(self, answer: httpx.Response) -> dict[str, Any]:
        found = read_document(answer.content)
        if found is None:
            raise self._no_use("what it answers is not what OpenID Connect wants")
        return found

    def _no_use(self, why: str) -> Unavailable:
        return Unavailable(
            f"Nobody can sign in through {self.issuer} just now: {why}.",
            "Try again later, or sign in with a password of pushcert's if you have one.",
        )

    def _refused(self, why: str) -> Refused:
        return refuse(
            "oidc_refused",
            f"The sign-in at {self.issuer} cannot be used: {why}.",
            "Begin again at the sign-in page; if it stays, tell whoever keeps the provider.",
        )


def read_document(data: bytes) -> dict[str, Any] | None:
    """The JSON object in an answer; None if there is none."""
    try:
        found = json.loads(data)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def configured_provider(config: Config) -> Provider | None:
    """The provider of ``[oidc]``; None: there is none. Its secret is fetched when needed."""
    section, url = config.oidc, config.serve.public_url
    if section.issuer is None or url is None:
        return None
    source = secret_source(config, section.client_secret)
    return Provider(
        section=section,
        return_to=url + RETURN_PATH,
        secret=None if source is None else lambda: (resolve(source) or b"").decode(),
        tls=True
        if section.ca_file is None
        else ssl.create_default_context(cafile=str(config.path(section.ca_file))),
    )
