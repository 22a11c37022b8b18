"""Writes the signed document of an isolation run into the evidence directory."""

from __future__ import annotations

import mmap
from pathlib import Path

from lifecycle.config import Config
from lifecycle.evidence_key import EvidenceKey, load_evidence_key, make_evidence_key
from lifecycle.secret import secret_source
from lifecycle.vendor.database import Database
from lifecycle.vendor.models import IsolationRun
from lifecycle.vendor.run_document import document_lines, write_private


def ensure_evidence_key(config: Config) -> EvidenceKey:
    """The configured key; made where there is none. Raises as ``load_evidence_key``."""
    path = config.path(config.evidence.key)
    if not path.exists():
        return make_evidence_key(path)
    return load_evidence_key(path, secret_source(config, config.evidence.passphrase))


def write_signed(config: Config, database: Database, run_id: str) -> Path:
    """Writes ``isolation-<run>.json``, its ``.sig``, and ``signing.pub.pem`` beside them.

    The document is renamed into place after its signature: one without the other never stands.

    Raises:
        Refused: ``run_unknown``, or as ``load_evidence_key``.
    """
    key = ensure_evidence_key(config)
    directory = config.path(config.evidence.directory)
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    document = directory / f"isolation-{run_id}.json"
    draft = directory / f"isolation-{run_id}.draft"
    with database.reading() as session:
        lines = document_lines(session, run_id, config.vendor.name)
        write_private(draft, (line.encode() for line in lines))
    with draft.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        signature = key.sign(memoryview(data))
    write_private(document.with_name(document.name + ".sig"), iter([signature]))
    write_private(directory / "signing.pub.pem", iter([key.public_pem]))
    draft.replace(document)
    with database.transaction() as session:
        run = session.get_one(IsolationRun, run_id)
        run.document = document.name
        session.add(run)
    return document
