"""Customers from certificates that were found somewhere: a folder, an MDM server, its dump.

A certificate says which topic it is, and nothing of whom to write to. Who is in the registry
already is known again by the topic; the others are new customers, whose addresses somebody must
add.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlmodel import Session, select

from lifecycle.errors import Finding, Refused, refuse
from lifecycle.mdm_servers.sql_dump import rows as rows_of_dump
from lifecycle.pki.push_certificate import PushCertificate
from lifecycle.pki.upload import read_upload
from lifecycle.vendor.bad_rows import BadRow
from lifecycle.vendor.customer_file import Row
from lifecycle.vendor.models import Certificate, Claim, Customer
from lifecycle.vendor.store import ACTIVE

TABLES = ("push_certs", "nano_push_certs")
_APPLES = re.compile(r"MDM_[ _]?(.+?)_Certificate(?: ?\(\d+\))?$", re.IGNORECASE)
"""How the portal calls its files: ``MDM_ <vendor>_Certificate.pem``."""
_IN_REGISTRY = frozenset({"slug", "certificate"})


@dataclass(frozen=True)
class Found:
    """A certificate, and what it was called where it was found.

    Attributes:
        label: names the place, for findings: a path, or the server's name for it.
        name: of the customer, as far as the place tells.
        data: the certificate, in any form an upload may have.
    """

    label: str
    name: str
    data: bytes


@dataclass(frozen=True)
class FoundRows:
    """Rows to import, and what was left out.

    Attributes:
        rows: one for each topic; their ``certificate`` is a label.
        data: the certificates, by label.
        older: labels of certificates of a topic that has a later one, among them or in the
            registry.
    """

    rows: tuple[Row, ...]
    data: Mapping[str, bytes]
    older: tuple[str, ...]

    @property
    def new(self) -> tuple[Row, ...]:
        """Those that are in the registry by no topic."""
        return tuple(row for row in self.rows if row.given != _IN_REGISTRY)


def name_of_file(stem: str, folder: str) -> str:
    """A customer's name from a file's: the portal's files are all called after the vendor, so
    the folder counts where one of them is in a folder of its own."""
    match = _APPLES.fullmatch(stem)
    if match is None:
        return stem
    # Our own export writes the slug there; the portal writes a space first.
    return folder if " " in stem[:5] and folder else match[1].strip()


def in_dump(data: bytes) -> list[Found]:
    """The certificates in a dump of NanoMDM's database; the keys beside them are not read.

    Raises:
        Refused: as ``sql_dump.rows``.
    """
    found = []
    for row in rows_of_dump(data, TABLES, ("topic", "cert_pem")):
        topic = row.get("topic") or ""
        found.append(Found(topic, _last(topic), (row.get("cert_pem") or "").encode()))
    return found


def as_rows(
    found: Iterable[Found],
    known: Mapping[str, str],
    ends: Mapping[str, datetime],
    email: str,
) -> FoundRows:
    """A row for each topic, with the certificate that ends last.

    Args:
        found: in their order.
        known: slugs by topic, of the customers in the registry.
        ends: when the active certificate of each topic in the registry ends; an older one that
            was found is passed over.
        email: the address of new customers; empty: they have none, and cannot be imported yet.
    """
    best: dict[str, tuple[Found, PushCertificate | None]] = {}
    older: list[str] = []
    for one in found:
        certificate = _readable(one.data)
        topic = one.label if certificate is None else str(certificate.topic)
        before = best.get(topic)
        recorded = ends.get(topic)
        if certificate is not None and recorded is not None and certificate.not_after < recorded:
            older.append(one.label)
        elif before is None:
            best[topic] = (one, certificate)
        elif certificate is not None and _ends_later(certificate, before[1]):
            older.append(before[0].label)
            best[topic] = (one, certificate)
        else:
            older.append(one.label)
    taken = set(known.values())
    rows = []
    for line, (topic, (one, _)) in enumerate(best.items(), 1):
        slug = known.get(topic)
        if slug is not None:
            rows.append(Row(line, slug, "", "", certificate=one.label, given=_IN_REGISTRY))
            continue
        slug = _free_slug(one.name, taken)
        taken.add(slug)
        rows.append(Row(line, slug, one.name[:200], email, certificate=one.label))
    data = {one.label: one.data for one, _ in best.values()}
    return FoundRows(tuple(rows), data, tuple(older))


def slugs_by_topic(session: Session) -> dict[str, str]:
    """The customers of the registry by every topic that was ever theirs."""
    statement = select(Claim.value, Customer.slug).join(Customer).where(Claim.kind == "topic")
    return dict(session.exec(statement).all())


def active_ends(session: Session) -> dict[str, datetime]:
    """When the active certificate of each topic ends."""
    statement = select(Certificate.topic, Certificate.not_after).where(Certificate.state == ACTIVE)
    return dict(session.exec(statement).all())


def compare_ends(
    server: str,
    said: Sequence[tuple[str, datetime | None]],
    known: Mapping[str, str],
    ends: Mapping[str, datetime],
) -> tuple[int, list[BadRow]]:
    """Holds what a server says of topics against the registry.

    Args:
        server: its host, for the findings.
        said: topics with the end of the certificate that it has; None: it has none.
        known, ends: of the registry.

    Returns:
        How many agree, and a finding for each that does not.
    """
    agree, bad = 0, []
    for line, (topic, not_after) in enumerate(said, 1):
        slug, recorded = known.get(topic), ends.get(topic)
        if slug is not None and recorded is not None and not_after == recorded:
            agree += 1
            continue
        bad.append(
            BadRow(line, slug or "", (_difference(server, topic, not_after, slug, recorded),))
        )
    return agree, bad


def require_addresses(found: FoundRows) -> None:
    """Checks that new customers have an address. Raises ``Refused`` (``address_needed``)."""
    new = [row for row in found.new if not row.email]
    if new:
        raise refuse(
            "address_needed",
            f"{len(new)} of the certificates are of new customers, beginning with"
            f" “{new[0].name[:60]}”, and a certificate does not say whom to write to.",
            "Write a list with --draft customers.csv, fill in names and addresses and import that;"
            " or give one address for all of them with --email.",
        )


def _difference(
    server: str,
    topic: str,
    not_after: datetime | None,
    slug: str | None,
    recorded: datetime | None,
) -> Finding:
    if not_after is None:
        return Finding(
            "server_lacks_topic",
            f"{server} has no push certificate of the topic {topic}.",
            "Check which MDM server the customer uses, and deploy to it.",
        )
    until = f"{not_after:%Y-%m-%d %H:%M} UTC"
    if slug is None or recorded is None:
        return Finding(
            "certificate_needed",
            f"{server} has a certificate of the topic {topic} until {until}, and the registry"
            " has none.",
            "Its API does not give the certificate: import a dump of its table push_certs, or"
            " adopt the file from the portal.",
        )
    return Finding(
        "server_certificate_differs",
        f"{server} has a certificate of '{slug}' until {until}; the registry's ends"
        f" {recorded:%Y-%m-%d %H:%M} UTC.",
        "Find out which of the two is the newest, and deploy it or upload it.",
    )


def _readable(data: bytes) -> PushCertificate | None:
    try:
        return read_upload(data).certificate
    except Refused:
        return None  # the import says what is wrong with it, as with any other file


def _ends_later(one: PushCertificate, other: PushCertificate | None) -> bool:
    return other is None or one.not_after > other.not_after


def _free_slug(name: str, taken: set[str]) -> str:
    base = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:56].strip("-") or "customer"
    slug, number = base, 1
    while slug in taken:
        number += 1
        slug = f"{base}-{number}"
    return slug


def _last(topic: str) -> str:
    return topic.rpartition(".")[2] or topic
