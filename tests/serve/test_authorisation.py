"""Who may do what: a table over every route of the published OpenAPI document.

A route that is new and has no line here fails the first test.
"""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from sqlmodel import select

from lifecycle.errors import Refused
from lifecycle.serve.app import build_app
from lifecycle.serve.served import Served
from lifecycle.vendor import registry, store
from lifecycle.vendor.facts import RenewalReason
from lifecycle.vendor.models import AuditEntry, Certificate, Customer, Renewal
from lifecycle.wire.signatures import RequestSigner, possession

if TYPE_CHECKING:
    from tests.serve.conftest import BuildVendor, Vendor

CSR = b64encode(b"0\x03\x02\x01\x01").decode()
FINGERPRINT = "ab" * 32
KEY = Ed25519PrivateKey.generate()
PUBLIC = KEY.public_key().public_bytes_raw()
SEALING = X25519PrivateKey.generate().public_key().public_bytes_raw()

BODIES: dict[tuple[str, str], dict[str, Any] | None] = {
    ("GET", "/v1/work"): None,
    ("POST", "/v1/csr"): {"renewal_id": 1, "csr": CSR},
    ("POST", "/v1/certificate"): {"certificate": "no certificate"},
    ("POST", "/v1/reports"): {"kind": "check_wanted"},
    ("POST", "/v1/credential"): {
        "public_key": b64encode(PUBLIC).decode(),
        "sealing_key": b64encode(SEALING).decode(),
        "proof": b64encode(b"p").decode(),
    },
    ("POST", "/v1/enrolment"): {
        "code": "AAAAA-AAAAA-AAAAA-AAAAA-AAAAA",
        "public_key": b64encode(PUBLIC).decode(),
        "sealing_key": b64encode(SEALING).decode(),
    },
    ("GET", "/healthz"): None,
    ("GET", "/readyz"): None,
    ("GET", "/metrics"): None,
    ("GET", "/calendar/{token}/expiries.ics"): None,
}
"""A message that each route understands."""

RULES: dict[tuple[str, str], dict[str, tuple[int, str | None]]] = {
    # route: who → status and code of the problem
    ("GET", "/v1/work"): {"own": (200, None)},
    ("POST", "/v1/csr"): {"own": (422, "csr_damaged")},
    ("POST", "/v1/certificate"): {"own": (422, "file_unknown")},
    ("POST", "/v1/reports"): {"own": (204, None)},
    ("POST", "/v1/credential"): {"own": (422, "possession_unproven")},
    ("POST", "/v1/enrolment"): dict.fromkeys(
        ("own", "nobody", "revoked", "browser"), (422, "invitation_unknown")
    ),
    ("GET", "/healthz"): dict.fromkeys(("own", "nobody", "revoked", "browser"), (200, None)),
    ("GET", "/readyz"): dict.fromkeys(("own", "nobody", "revoked", "browser"), (200, None)),
    ("GET", "/metrics"): dict.fromkeys(
        ("own", "nobody", "revoked", "browser"), (401, "metrics_token_wrong")
    ),
    ("GET", "/calendar/{token}/expiries.ics"): dict.fromkeys(
        ("own", "nobody", "revoked", "browser"), (404, "path_unknown")
    ),
}
"""What is not said: whoever is not the instance itself is shut out, as in ``SHUT_OUT``."""

ROLES = ("instance", "code", "public", "monitoring", "feed", "viewer", "operator")
SHUT_OUT = {
    "nobody": (401, "signature_missing"),
    "revoked": (401, "credential_revoked"),
    "browser": (401, "signature_missing"),
}


def published() -> dict[str, Any]:
    from lifecycle.clock import SystemClock
    from lifecycle.config import Config

    document: dict[str, Any] = build_app(Served(Config(), SystemClock())).openapi()
    return document


def routes() -> Iterator[tuple[str, str]]:
    for path, methods in published()["paths"].items():
        for method, operation in methods.items():
            if "dashboard" not in operation.get("tags", ()):
                yield method.upper(), path


ROUTES = sorted(routes())


@dataclass
class World:
    """A vendor with three instances; that of ``gone`` was shut out."""

    vendor: Vendor
    client: httpx.Client
    signers: dict[str, RequestSigner]

    def ask(self, who: str, method: str, path: str, body: dict[str, Any] | None) -> httpx.Response:
        content = b"" if body is None else json.dumps(body).encode()
        headers = {"Content-Type": "application/json"} if content else {}
        if who == "browser":
            headers["Cookie"] = "__Host-pushcert=0123456789abcdef"
        signer = self.signers.get(who)
        if signer is not None:
            now = self.vendor.clock.now()
            headers["Authorization"] = signer.sign(method, path, content, now)
        return self.client.request(method, path, content=content or None, headers=headers)


@pytest.fixture
def world(build_vendor: BuildVendor, tmp_path: Path) -> Iterator[World]:
    from lifecycle.vendor import credentials

    (tmp_path / "metrics-token").write_text("of-the-monitoring")
    (tmp_path / "metrics-token").chmod(0o600)
    vendor = build_vendor(f'[serve]\nmetrics_token = "file:{tmp_path / "metrics-token"}"\n')
    signers = {}
    for who, slug in (("own", "acme"), ("other", "rival"), ("revoked", "gone")):
        enrolled = vendor.enrolled(slug).enrolled()
        assert enrolled is not None
        signers[who] = enrolled.signer
    with vendor.served.database.transaction() as session:
        now = vendor.clock.now()
        gone = store.customer_by_slug(session, "gone")
        credentials.revoke_all(session, gone, at=now, actor="operator:test", why="test")
        for slug in ("acme", "rival"):
            customer = store.customer_by_slug(session, slug)
            registry.open_renewal(
                session, customer, RenewalReason.INITIAL, at=now, actor="operator:test"
            )
    import ssl

    trusted = ssl.create_default_context(cafile=str(vendor.tls.ca))
    with httpx.Client(base_url=vendor.url, verify=trusted) as client:
        yield World(vendor, client, signers)


def test_every_route_has_a_rule_and_every_rule_a_route() -> None:
    assert sorted(RULES) == ROUTES
    assert sorted(BODIES) == ROUTES


def test_every_route_says_whom_it_is_for() -> None:
    for path, methods in published()["paths"].items():
        for method, operation in methods.items():
            role = operation.get("x-role")
            assert role in ROLES, (method, path)
            if path.startswith("/v1/") and role != "code":
                assert operation["security"] == [{"instance": []}], (method, path)


@pytest.mark.parametrize("who", ["own", "nobody", "revoked", "browser"])
@pytest.mark.parametrize(("method", "path"), ROUTES)
def test_the_table_holds(world: World, who: str, method: str, path: str) -> None:
    answer = world.ask(who, method, path, BODIES[method, path])
    status, code = RULES[method, path].get(who, SHUT_OUT.get(who, (0, None)))
    assert answer.status_code == status, answer.text
    if code is not None:
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.json()["code"] == code


def others_rows(world: World) -> list[dict[str, Any]]:
    """Everything of acme's, and its audit entries."""
    with world.vendor.served.database.reading() as session:
        acme = store.customer_by_slug(session, "acme")
        rows = [
            *session.exec(select(Customer).where(Customer.id == acme.id)),
            *session.exec(select(Renewal).where(Renewal.customer_id == acme.id)),
            *session.exec(select(Certificate).where(Certificate.customer_id == acme.id)),
            *session.exec(select(AuditEntry).where(AuditEntry.subject == "acme")),
        ]
        return [row.model_dump() for row in rows]


@pytest.mark.parametrize(("method", "path"), [r for r in ROUTES if r[1].startswith("/v1/")])
def test_another_customers_credential_reaches_nothing_of_this_one(
    world: World, method: str, path: str
) -> None:
    from lifecycle.pki.csr import build_csr
    from lifecycle.pki.keys import generate_key

    before = others_rows(world)
    body = BODIES[method, path]
    if path == "/v1/csr":
        with world.vendor.served.database.reading() as session:
            acmes = store.open_renewal(session, store.customer_by_slug(session, "acme"))
        assert acmes is not None
        csr = build_csr(generate_key(), email="it@rival.example", common_name="Rival")
        body = {"renewal_id": acmes.id, "csr": b64encode(csr.der).decode()}
    answer = world.ask("other", method, path, body)
    assert others_rows(world) == before
    assert "acme" not in answer.text.lower()
    if path == "/v1/csr":
        assert answer.json()["code"] == "renewal_not_open"


def test_nothing_in_a_message_can_name_another_customer(world: World) -> None:
    for body in (
        {"kind": "check_wanted", "slug": "acme"},
        {"kind": "check_wanted", "customer_id": 1},
    ):
        answer = world.ask("other", "POST", "/v1/reports", body)
        assert answer.status_code == 422
        assert answer.json()["code"] == "message_malformed"


def test_a_report_about_another_customers_check_changes_nothing(world: World) -> None:
    before = others_rows(world)
    for body in (
        {"kind": "evidence", "check_id": 1, "fingerprint": FINGERPRINT},
        {"kind": "activation", "renewal_id": 1, "fingerprint": FINGERPRINT},
        {"kind": "setback", "renewal_id": 1, "code": "x", "message": "y"},
    ):
        assert world.ask("other", "POST", "/v1/reports", body).status_code == 204
    assert others_rows(world) == before


def test_only_a_canary_tenant_may_offer_a_canary(world: World) -> None:
    body = {
        "kind": "canary_seals",
        "topic": "com.apple.mgmt.External.x",
        "token_fingerprint": FINGERPRINT,
        "seals": [],
    }
    answer = world.ask("other", "POST", "/v1/reports", body)
    assert (answer.status_code, answer.json()["code"]) == (422, "not_a_canary")


def test_a_request_that_was_seen_cannot_be_turned_into_another(world: World) -> None:
    signer, now = world.signers["own"], world.vendor.clock.now()
    seen = signer.sign("GET", "/v1/work", b"", now)
    for method, path in (("POST", "/v1/reports"), ("POST", "/v1/credential")):
        body = json.dumps(BODIES[method, path]).encode()
        answer = world.client.request(method, path, content=body, headers={"Authorization": seen})
        assert (answer.status_code, answer.json()["code"]) == (401, "signature_wrong")


def test_a_code_that_was_used_is_worth_nothing(world: World) -> None:
    world.vendor.add("new")
    code = world.vendor.invite("new")
    world.vendor.instance("new").enrol(code)
    body = {**(BODIES["POST", "/v1/enrolment"] or {}), "code": code}
    answer = world.ask("nobody", "POST", "/v1/enrolment", body)
    assert (answer.status_code, answer.json()["code"]) == (422, "invitation_used")


def test_the_proof_for_a_change_of_keys_must_be_for_this_credential(world: World) -> None:
    wrong = possession(KEY, world.signers["other"].credential_id, PUBLIC)
    body = {**(BODIES["POST", "/v1/credential"] or {}), "proof": b64encode(wrong).decode()}
    answer = world.ask("own", "POST", "/v1/credential", body)
    assert answer.json()["code"] == "possession_unproven"


def test_an_off_boarded_customers_instance_is_told_that_nothing_is_wanted(world: World) -> None:
    with world.vendor.served.database.transaction() as session:
        registry.offboard(
            session,
            store.customer_by_slug(session, "acme"),
            at=world.vendor.clock.now(),
            actor="operator:test",
        )
    assert world.ask("own", "GET", "/v1/work", None).json()["standing"] is None
    with pytest.raises(Refused), world.vendor.served.database.transaction() as session:
        registry.request_renewal(
            session,
            store.customer_by_slug(session, "acme"),
            RenewalReason.MANUAL,
            at=world.vendor.clock.now(),
            actor="operator:test",
        )
