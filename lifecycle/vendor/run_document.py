"""The evidence of an isolation run as one JSON document, for an auditor who has no database.

It says of each customer what was probed, what had to be answered and what was. Token
fingerprints are in it, tokens are not. The signature is detached, over the bytes of the file.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from sqlmodel import Session, col, select

from lifecycle.errors import Refused, refuse
from lifecycle.vendor import sweeps
from lifecycle.vendor.isolation import expected, judge
from lifecycle.vendor.models import Certificate, Customer, IsolationCheck, IsolationRun
from lifecycle.wire.messages import Probe, ProbeAnswer

FORMAT = "pushcert isolation run 1"
_CUSTOMERS = {FORMAT: "customers"}
"""Where each format that was ever written keeps its customers."""
_HEAD = frozenset({"format", "vendor", "run", "started_at", "finished_at", "verdicts", "customers"})
_BATCH = 500


def document_lines(session: Session, run_id: str, vendor: str) -> Iterator[str]:
    """The document, piece by piece; the same run gives the same bytes.

    Raises:
        Refused: ``run_unknown``.
    """
    run = session.get(IsolationRun, run_id)
    if run is None:
        raise refuse(
            "run_unknown",
            f"There is no isolation run {run_id[:40]}.",
            "See `pushcert isolation runs`.",
        )
    head = {
        "format": FORMAT,
        "vendor": vendor,
        "run": run.id,
        "started_at": run.started_at.isoformat(),
        "finished_at": None if run.finished_at is None else run.finished_at.isoformat(),
        "verdicts": {str(v): count for v, count in sweeps.verdicts(session, run_id).items()},
    }
    yield _compact(head)[:-1] + ',"customers":['
    separator = "\n"
    for row in rows(session, run_id=run_id):
        yield separator + _compact(row)
        separator = ",\n"
    yield "\n]}\n"


def rows(
    session: Session, *, run_id: str | None = None, since: datetime | None = None
) -> Iterator[dict[str, Any]]:
    """One object for each customer: the checks of a run, or everybody's latest.

    Args:
        run_id: the run; None for the latest check of each customer in care, and those that
            have none.
        since: only checks that were concluded at or after this.
    """
    after = 0
    while True:
        found = _page(session, after, run_id)
        if not found:
            return
        for customer, certificate, check in found:
            after = customer.id or 0
            if since is not None and (
                check is None or check.concluded_at is None or check.concluded_at < since
            ):
                continue
            yield _row(customer, certificate, check)
        session.expunge_all()


def _page(
    session: Session, after: int, run_id: str | None
) -> list[tuple[Customer, Certificate | None, IsolationCheck | None]]:
    judged = col(IsolationCheck.verdict).is_not(None)
    if run_id is not None:
        checks = session.exec(
            select(Customer, Certificate, IsolationCheck)
            .join(IsolationCheck, col(IsolationCheck.customer_id) == col(Customer.id))
            .join(Certificate, col(Certificate.id) == col(IsolationCheck.certificate_id))
            .where(col(Customer.id) > after, IsolationCheck.run_id == run_id, judged)
            .order_by(col(Customer.id))
            .limit(_BATCH)
        )
        return [(customer, certificate, check) for customer, certificate, check in checks]
    latest = (
        select(IsolationCheck.id)
        .where(col(IsolationCheck.customer_id) == col(Customer.id), judged)
        .order_by(col(IsolationCheck.concluded_at).desc(), col(IsolationCheck.id).desc())
        .limit(1)
        .correlate(Customer)
        .scalar_subquery()
    )
    found = session.exec(
        select(Customer, IsolationCheck, Certificate)
        .outerjoin(IsolationCheck, col(IsolationCheck.id) == latest)
        .outerjoin(Certificate, col(Certificate.id) == col(IsolationCheck.certificate_id))
        .where(
            col(Customer.id) > after,
            col(Customer.offboarded_at).is_(None),
            Customer.kind == "customer",
        )
        .order_by(col(Customer.id))
        .limit(_BATCH)
    )
    return [(customer, certificate, check) for customer, check, certificate in found]


def _row(
    customer: Customer, certificate: Certificate | None, check: IsolationCheck | None
) -> dict[str, Any]:
    answers = [] if check is None else check.answers
    return {
        "slug": customer.slug,
        "name": customer.name,
        "topic": None if certificate is None else certificate.topic,
        "serial": None if certificate is None else certificate.serial,
        "certificate": None if certificate is None else certificate.fingerprint,
        "checked_at": None
        if check is None or check.concluded_at is None
        else check.concluded_at.isoformat(),
        "verdict": None if check is None else check.verdict,
        "why": None if check is None else check.why,
        "run": None if check is None else check.run_id,
        "probes": [{**answer, "expected": expected(Probe(answer["probe"]))} for answer in answers],
    }


def write_private(path: Path, pieces: Iterator[bytes]) -> None:
    """A whole file or none: written beside its place, synced, renamed. Mode 0600."""
    new = path.with_name(path.name + ".new")
    descriptor = os.open(new, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        for piece in pieces:
            file.write(piece)
        file.flush()
        os.fsync(file.fileno())
    new.replace(path)


def parse_document(data: bytes) -> dict[str, Any]:
    """The document in a file; what is in it is for ``contradictions`` to judge.

    Raises:
        Refused: ``not_a_run_document``.
    """
    try:
        found = json.loads(data)
    except (ValueError, RecursionError):
        raise _not_a_run() from None
    if not isinstance(found, dict) or not found.keys() >= _HEAD:
        raise _not_a_run()
    try:
        _text([found[name] for name in _HEAD - {"customers"}])
    except UnicodeEncodeError:
        raise _not_a_run() from None
    return found


def contradictions(document: Mapping[str, Any]) -> list[str]:
    """Slugs whose verdict is better than their answers allow: ``isolated``, where the rules
    applied to the answers in the document say otherwise.

    Raises:
        Refused: ``not_a_run_document``.
    """
    try:
        return [
            _text(row["slug"])
            for row in document[_CUSTOMERS[document["format"]]]
            if row["verdict"] == "isolated"
            and judge(
                [
                    ProbeAnswer(**{k: v for k, v in answer.items() if k != "expected"})
                    for answer in row["probes"]
                ],
                None,
                own_topic=row["topic"],
            ).verdict
            != "isolated"
        ]
    except (KeyError, TypeError, ValueError, AttributeError):
        raise _not_a_run() from None


def _text(value: object) -> str:
    """To be shown. Raises ``UnicodeEncodeError`` for half of a surrogate pair."""
    text = value if isinstance(value, str) else _compact(value)
    return text.encode().decode()


def _not_a_run() -> Refused:
    return refuse(
        "not_a_run_document",
        "The file is signed, but it is not the document of an isolation run.",
        "Give the isolation-….json file that the vendor sent.",
    )


def _compact(value: object) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)
