"""An OpenID Connect provider that can be made to lie, for what an honest one never does."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Annotated, Any
from urllib.parse import urlencode

from fastapi import FastAPI, Form, Request
from fastapi.responses import JSONResponse, RedirectResponse, Response
from joserfc import jwt
from joserfc.jwk import RSAKey

Bend = Callable[[dict[str, Any]], None]


def straight(_: dict[str, Any]) -> None:
    """Bends nothing."""


@dataclass
class Crooked:
    """The provider; what is set here is done at the next question.

    Attributes:
        now: seconds, for ``iat`` and ``exp``.
        bend_claims: changes the claims of the ID token before it is signed.
        bend_metadata: changes what discovery says.
        bend_answer: changes the parameters that the browser comes back with.
        sign: makes the ID token of its claims; None: rightly.
        userinfo: what that endpoint says; None: 404.
        asked: every form that the token endpoint was sent.
    """

    url: str
    now: int
    key: RSAKey = field(default_factory=lambda: RSAKey.generate_key(2048, {"kid": "one"}))
    claims: dict[str, Any] = field(default_factory=dict)
    bend_claims: Bend = straight
    bend_metadata: Bend = straight
    bend_answer: Bend = straight
    sign: Callable[[dict[str, Any]], str] | None = None
    userinfo: dict[str, Any] | None = None
    asked: list[dict[str, Any]] = field(default_factory=list)
    codes: dict[str, dict[str, str]] = field(default_factory=dict)

    def id_token(self, claims: dict[str, Any]) -> str:
        if self.sign is not None:
            return self.sign(claims)
        return jwt.encode({"alg": "RS256", "kid": "one"}, claims, self.key)


def crooked_app(provider: Crooked) -> FastAPI:
    """The provider's application."""
    app = FastAPI()

    @app.get("/.well-known/openid-configuration")
    def metadata() -> JSONResponse:
        said: dict[str, Any] = {
            "issuer": provider.url,
            "authorization_endpoint": f"{provider.url}/authorize",
            "token_endpoint": f"{provider.url}/token",
            "jwks_uri": f"{provider.url}/keys",
            "userinfo_endpoint": f"{provider.url}/userinfo",
        }
        provider.bend_metadata(said)
        return JSONResponse(said)

    @app.get("/keys")
    def keys() -> JSONResponse:
        return JSONResponse({"keys": [provider.key.as_dict(private=False)]})

    @app.get("/authorize")
    def authorize(request: Request) -> Response:
        asked = dict(request.query_params)
        provider.codes["the-code"] = asked
        answer: dict[str, Any] = {"code": "the-code", "state": asked["state"]}
        provider.bend_answer(answer)
        return RedirectResponse(f"{asked['redirect_uri']}?{urlencode(answer)}", 303)

    @app.post("/token")
    def token(
        request: Request,
        code: Annotated[str, Form()],
        code_verifier: Annotated[str, Form()],
        client_id: Annotated[str, Form()] = "",
        client_secret: Annotated[str, Form()] = "",
    ) -> JSONResponse:
        provider.asked.append(
            {
                "authorization": request.headers.get("authorization"),
                "client_id": client_id,
                "client_secret": client_secret,
            }
        )
        asked = provider.codes.pop(code, None)
        if asked is None or challenge(code_verifier) != asked["code_challenge"]:
            return JSONResponse({"error": "invalid_grant"}, 400)
        claims: dict[str, Any] = {
            "iss": provider.url,
            "aud": asked["client_id"],
            "sub": "0042",
            "iat": provider.now,
            "exp": provider.now + 300,
            "nonce": asked["nonce"],
            **provider.claims,
        }
        provider.bend_claims(claims)
        return JSONResponse(
            {
                "access_token": "the-access-token",
                "token_type": "Bearer",
                "id_token": provider.id_token(claims),
            }
        )

    @app.get("/userinfo")
    def userinfo(request: Request) -> JSONResponse:
        if provider.userinfo is None:
            return JSONResponse({}, 404)
        assert request.headers["authorization"] == "Bearer the-access-token"
        return JSONResponse(provider.userinfo)

    return app


def challenge(verifier: str) -> str:
    """RFC 7636, 4.2: S256."""
    return encoded(hashlib.sha256(verifier.encode()).digest())


def encoded(data: bytes) -> str:
    """Base64url without padding."""
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def unsigned(claims: dict[str, Any]) -> str:
    """A token of the algorithm ``none``."""
    parts = ({"alg": "none", "typ": "JWT"}, claims)
    return ".".join(encoded(json.dumps(part).encode()) for part in parts) + "."


def signed_with_what_everybody_knows(secret: bytes) -> Callable[[dict[str, Any]], str]:
    """Makes tokens of the algorithm HS256, with something public as the secret."""

    def sign(claims: dict[str, Any]) -> str:
        head = {"alg": "HS256", "kid": "one"}
        body = ".".join(encoded(json.dumps(part).encode()) for part in (head, claims))
        return f"{body}.{encoded(hmac.new(secret, body.encode(), hashlib.sha256).digest())}"

    return sign
