"""The audit log: by subject, actor and action, and whether the chain is whole."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from fastapi import Form, Query, Response
from sqlmodel import Session, col, select

from lifecycle.serve.dashboard.access import Needs, Pages
from lifecycle.serve.dashboard.rendering import page
from lifecycle.serve.dashboard.story import Moment, of_entry
from lifecycle.serve.dashboard.visit import Visiting
from lifecycle.vendor.audit import verify_log
from lifecycle.vendor.models import AuditEntry
from lifecycle.vendor.registry import SLUG
from lifecycle.wire.messages import Number

audit = Pages()
PAGE = 100


@dataclass(frozen=True, slots=True)
class Line:
    """An entry as the page shows it."""

    seq: int
    moment: Moment
    actor: str
    action: str
    subject: str
    hash: str

    @property
    def of_customer(self) -> bool:
        """Whether the subject is a customer's slug, as far as its form tells."""
        return SLUG.fullmatch(self.subject) is not None


@audit.show("/audit", Needs.VIEWER)
def show_audit(
    visit: Visiting,
    subject: Annotated[str, Query(max_length=200)] = "",
    actor: Annotated[str, Query(max_length=200)] = "",
    action: Annotated[str, Query(max_length=64)] = "",
    before: Annotated[Number | None, Query()] = None,
) -> Response:
    """The newest entries that fit, or those before one."""
    asked = {"subject": subject.strip(), "actor": actor.strip(), "action": action.strip()}
    with visit.served.database.reading() as session:
        lines = _lines(session, asked, before)
    return page(
        visit,
        "audit.html.j2",
        section="audit",
        asked=asked,
        lines=lines[:PAGE],
        older=lines[PAGE - 1].seq if len(lines) > PAGE else None,
        outcome=None,
        from_the_top=before is None,
    )


@audit.do("/audit/verdict", Needs.VIEWER)
def verify_audit(visit: Visiting, expect: Annotated[str, Form(max_length=64)] = "") -> Response:
    """Reads the whole log and says whether it is whole; a POST, because it takes a while."""
    with visit.served.database.reading() as session:
        outcome = verify_log(session, expect=expect.strip().lower() or None)
        lines = _lines(session, {}, None)
    return page(
        visit,
        "audit.html.j2",
        section="audit",
        asked={"subject": "", "actor": "", "action": ""},
        lines=lines[:PAGE],
        older=lines[PAGE - 1].seq if len(lines) > PAGE else None,
        outcome=outcome,
        from_the_top=True,
    )


def _lines(session: Session, asked: dict[str, str], before: int | None) -> list[Line]:
    """One more than a page, if there are as many. An actor's name finds it without its kind."""
    statement = select(AuditEntry)
    if asked.get("subject"):
        statement = statement.where(AuditEntry.subject == asked["subject"])
    if asked.get("action"):
        statement = statement.where(AuditEntry.action == asked["action"].replace(" ", "_"))
    if asked.get("actor"):
        given = asked["actor"]
        kinds = ("user", "operator", "instance", "address")
        names = [given] if ":" in given else [given, *(f"{kind}:{given}" for kind in kinds)]
        statement = statement.where(col(AuditEntry.actor).in_(names))
    if before is not None:
        statement = statement.where(AuditEntry.seq < before)
    found = session.exec(statement.order_by(col(AuditEntry.seq).desc()).limit(PAGE + 1))
    return [
        Line(row.seq, of_entry(row), row.actor, row.action, row.subject, row.hash) for row in found
    ]
