"""What a lab remembers between runs: one file, private, replaced whole.

CAs with their keys, revocations, the portal's rows, devices and the clock's offset. Serial
numbers, topics and tokens come from seeds; each run takes seeds of its own, so that none of
them is ever given out twice.
"""

from __future__ import annotations

import hashlib
import json
import os
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from lifecycle.errors import Refused, refuse
from lifecycle.lab.authority import Authority, LabCa
from lifecycle.lab.devices import DeviceRegistry
from lifecycle.lab.portal import Portal
from lifecycle.pki.keys import key_to_pem, load_private_key

STATE_NAME = "lab.json"
_FORMAT = 1


@dataclass(frozen=True)
class LabState:
    """A lab at rest.

    Attributes:
        seed: of the lab's first run.
        runs: how often it was started before.
        offset: of the lab's clock from the host's.
        cas: root, WWDR, AAI; None for a lab that has not run yet.
        revoked: serial numbers and since when.
        rows: Apple Account, vendor, certificate; in the order of issue.
        devices: token, topic, and since when it is gone.
    """

    seed: int
    runs: int = 0
    offset: timedelta = timedelta()
    cas: tuple[LabCa, LabCa, LabCa] | None = None
    revoked: tuple[tuple[int, datetime], ...] = ()
    rows: tuple[tuple[str, str, x509.Certificate], ...] = ()
    devices: tuple[tuple[bytes, str, datetime | None], ...] = ()

    def seed_for(self, purpose: str) -> int:
        """This run's seed for ``purpose``."""
        text = f"{self.seed}/{self.runs}/{purpose}".encode()
        return int.from_bytes(hashlib.sha256(text).digest()[:8])

    def put_back(self, authority: Authority, portal: Portal, devices: DeviceRegistry) -> None:
        """Fills the parts of a new run with what the last one knew."""
        authority.revoked.update(self.revoked)
        for account, vendor, certificate in self.rows:
            portal.restore(account, vendor, certificate)
        # A token's ended registrations all ended at one instant, before any that is alive.
        for token, topic, gone in self.devices:
            if gone is not None:
                devices.register(token, topic)
        for token, _, gone in self.devices:
            if gone is not None:
                devices.unregister(token, gone)
        for token, topic, gone in self.devices:
            if gone is None:
                devices.register(token, topic)


def read_state(directory: Path, *, seed: int) -> LabState:
    """The state kept in ``directory``, or a fresh one with ``seed`` if there is none.

    Raises:
        Refused: ``lab_state_damaged``.
    """
    path = directory / STATE_NAME
    try:
        text = path.read_text()
    except FileNotFoundError:
        return LabState(seed)
    try:
        return _from_document(json.loads(text))
    except (Refused, ValueError, KeyError, TypeError, AttributeError):
        raise refuse(
            "lab_state_damaged",
            f"{path} is not what a lab of this version wrote.",
            "Give the lab another directory, or remove this one and begin anew.",
        ) from None


def write_state(directory: Path, state: LabState) -> None:
    """Writes the state durably, whole or not at all, readable by its owner only (0600)."""
    new = directory / f"{STATE_NAME}.new"
    with suppress(FileNotFoundError):  # left by a run that was killed
        new.unlink()
    descriptor = os.open(new, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    with os.fdopen(descriptor, "w") as file:
        json.dump(_to_document(state), file)
        file.flush()
        os.fsync(file.fileno())
    new.replace(directory / STATE_NAME)


def _to_document(state: LabState) -> dict[str, Any]:
    return {
        "format": _FORMAT,
        "seed": state.seed,
        "runs": state.runs,
        "offset_seconds": state.offset.total_seconds(),
        "cas": [
            {"certificate": _pem(ca.certificate), "key": key_to_pem(ca.key, None).decode()}
            for ca in state.cas or ()
        ],
        "revoked": [[f"{serial:X}", at.isoformat()] for serial, at in state.revoked],
        "rows": [[account, vendor, _pem(c)] for account, vendor, c in state.rows],
        "devices": [
            [token.hex(), topic, gone.isoformat() if gone else None]
            for token, topic, gone in state.devices
        ],
    }


def _from_document(document: dict[str, Any]) -> LabState:
    if document["format"] != _FORMAT:
        raise ValueError("another version wrote this")
    cas = tuple(
        LabCa(
            x509.load_pem_x509_certificate(ca["certificate"].encode()),
            load_private_key(ca["key"].encode(), None, trusted=True),
        )
        for ca in document["cas"]
    )
    if len(cas) != 3:
        raise ValueError("a lab has three CAs")
    return LabState(
        seed=int(document["seed"]),
        runs=int(document["runs"]),
        offset=timedelta(seconds=float(document["offset_seconds"])),
        cas=(cas[0], cas[1], cas[2]),
        revoked=tuple(
            (int(serial, 16), datetime.fromisoformat(at)) for serial, at in document["revoked"]
        ),
        rows=tuple(
            (account, vendor, x509.load_pem_x509_certificate(pem.encode()))
            for account, vendor, pem in document["rows"]
        ),
        devices=tuple(
            (bytes.fromhex(token), topic, datetime.fromisoformat(gone) if gone else None)
            for token, topic, gone in document["devices"]
        ),
    )


def _pem(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(Encoding.PEM).decode()
