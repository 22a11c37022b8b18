"""Four-eyes signing by the command line: nothing is signed before two people stand behind it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlmodel import select
from typer.testing import CliRunner

from cli import invocation
from cli.main import app
from lifecycle.clock import SystemClock
from lifecycle.config import load_config
from lifecycle.vendor.models import Renewal
from lifecycle.vendor_side import VendorSide
from tests.deployment import Deployment, deployment

VECTORS = Path(__file__).resolve().parent.parent / "vectors"
MANUAL = '[signing]\napproval = "manual"\n'


class Desk:
    """A deployment at which several operators work."""

    def __init__(self, made: Deployment, monkeypatch: pytest.MonkeyPatch) -> None:
        self.made = made
        self._patch = monkeypatch

    def by(self, name: str, *arguments: str) -> tuple[int, str, str]:
        """Runs a command as this operator: exit code, stdout, stderr."""
        self._patch.setattr(invocation, "_signed_in", lambda: name)
        result = CliRunner().invoke(app, ["--config", str(self.made.config), *arguments])
        return result.exit_code, result.stdout, result.stderr

    def json_by(self, name: str, *arguments: str) -> Any:
        code, out, err = self.by(name, *arguments, "--json")
        assert code == 0, err
        return json.loads(out)

    def pending(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.json_by("anyone", "sign", "--pending")
        return found

    def row(self, slug: str) -> dict[str, Any]:
        rows = self.json_by("anyone", "report")["customers"]
        return next(r for r in rows if r["slug"] == slug)


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Desk]:
    with deployment(tmp_path, MANUAL) as made:
        made.run("init", str(made.directory))
        made.import_signer()
        yield Desk(made, monkeypatch)


def test_who_asked_cannot_approve_and_a_second_operator_can(desk: Desk) -> None:
    desk.made.add("acme")
    desk.by("anna", "renew", "acme", "--no-input")
    desk.by("anna", "tick")
    row = desk.row("acme")
    assert (row["renewal_state"], row["blocked_by"]) == ("csr_received", "signing_unapproved")
    assert row["acts"] == "vendor"
    (one,) = desk.pending()
    assert (one["slug"], one["opened_by"], one["approved_by"]) == ("acme", "operator:anna", [])
    assert one["waits_for"] == row["next_step"]
    assert (
        f"not anna, must approve the signature: `pushcert sign --approve {one['id']}`"
        in (one["waits_for"])
    )

    code, _, said = desk.by("anna", "sign", "--approve", str(one["id"]))
    assert (code, "approval_same_person" in said) == (3, True)
    desk.by("anna", "tick")
    assert desk.row("acme")["renewal_state"] == "csr_received"

    done = desk.json_by("ben", "sign", "--approve", str(one["id"]))
    assert done == {"id": one["id"], "slug": "acme", "complete": True, "waits_for": None}
    assert desk.pending() == []
    assert desk.by("ben", "sign", "--approve", str(one["id"]))[0] == 3
    desk.by("anna", "tick")
    row = desk.row("acme")
    assert (row["renewal_state"], row["blocked_by"]) == ("delivered", None)
    entries = {e["action"]: e for e in desk.json_by("anna", "audit", "list")}
    assert entries["renewal_opened"]["actor"] == "operator:anna"
    assert entries["signing_approved"]["actor"] == "operator:ben"
    assert entries["signing_approved"]["detail"]["csr"] == one["csr_fingerprint"]
    assert entries["request_signed"]["detail"]["approved_by"] == "operator:ben"


def test_a_renewal_that_nobody_asked_for_wants_two_approvals(desk: Desk) -> None:
    desk.made.add("acme")
    desk.by("anna", "tick")
    (one,) = desk.pending()
    assert one["opened_by"] == "worker"
    assert one["waits_for"].startswith("Two operators")
    first = desk.json_by("anna", "sign", "--approve", str(one["id"]))
    assert not first["complete"]
    desk.by("anna", "tick")
    assert "not anna" in desk.row("acme")["next_step"]
    assert desk.by("anna", "sign", "--approve", str(one["id"]))[0] == 3
    assert desk.pending()[0]["approved_by"] == ["operator:anna"]
    assert desk.json_by("ben", "sign", "--approve", str(one["id"]))["complete"]
    desk.by("anna", "tick")
    assert desk.row("acme")["renewal_state"] == "delivered"


def test_an_approval_is_good_for_the_csr_that_was_looked_at_alone(desk: Desk) -> None:
    desk.made.add("acme")
    desk.by("anna", "renew", "acme", "--no-input")
    (one,) = desk.pending()
    desk.json_by("ben", "sign", "--approve", str(one["id"]))
    with (
        VendorSide(load_config(desk.made.config), SystemClock()) as side,
        side.database.transaction() as session,
    ):
        renewal = session.exec(select(Renewal)).one()
        renewal.csr = (VECTORS / "customer-csr.der").read_bytes()
        session.add(renewal)
    desk.by("anna", "tick")
    assert desk.row("acme")["renewal_state"] == "csr_received"
    assert [p["approved_by"] for p in desk.pending()] == [[]]


def test_the_key_signs_no_file_past_the_second_person(desk: Desk) -> None:
    code, out, said = desk.by("anna", "sign", str(VECTORS / "customer-csr.pem"))
    assert (code, out) == (3, "")
    assert "signing_needs_approval" in said


def test_a_rule_that_is_lifted_holds_nobody_up(desk: Desk) -> None:
    desk.made.add("acme")
    desk.by("anna", "renew", "acme", "--no-input")
    desk.made.config.write_text(desk.made.config.read_text().replace("manual", "automatic"))
    assert "approval_not_wanted" in desk.by("anna", "sign", "--pending")[2]
    desk.by("anna", "renew", "acme", "--no-input")
    assert desk.row("acme")["renewal_state"] == "delivered"


def test_the_list_is_for_people_as_well(desk: Desk) -> None:
    assert "Nothing waits" in desk.by("anna", "sign", "--pending")[1]
    desk.made.add("acme")
    desk.by("anna", "renew", "acme", "--no-input")
    assert "acme" in desk.by("ben", "sign", "--pending")[1]
    assert desk.by("ben", "sign", "--approve", "99")[0] == 3
    for usage in (("sign",), ("sign", "--pending", "--approve", "1"), ("sign", "x.csr", "--json")):
        assert desk.by("ben", *usage)[0] == 2
    assert "next tick" in desk.by("ben", "sign", "--approve", "1")[1]
