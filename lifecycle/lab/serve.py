"""The whole lab in one object, kept in a directory, so that it can be stopped and started.

with Lab(directory) as lab:
    lab.describe()                  # ports, files to trust, a signing certificate
"""

from __future__ import annotations

import json
import os
import random
from datetime import datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from lifecycle.lab.authority import Authority, LabCa
from lifecycle.lab.clock import OffsetClock
from lifecycle.lab.devices import DeviceRegistry
from lifecycle.lab.gateway import ApnsGateway
from lifecycle.lab.portal import Portal
from lifecycle.lab.portal_http import PortalServer
from lifecycle.pki.keys import generate_key, key_to_pem, load_private_key

STATE = "lab.json"
GATEWAY_CA = "gateway-ca.pem"
TRUST = "apple-ca.pem"
SIGNING_CERTIFICATE = "signing.pem"
SIGNING_KEY = "signing.key"
VENDOR = "Lab MDM"
_CAS = ("root", "wwdr", "aai")


class Lab:
    """Portal and gateway on loopback. Use it as a context manager.

    Args:
        directory: made if missing (mode 0700); holds the CAs' keys and what was issued.
        apns_port, portal_port: 0 takes a free one.

    Attributes:
        authority, portal, gateway, clock: its parts.
    """

    def __init__(self, directory: Path, *, apns_port: int = 0, portal_port: int = 0) -> None:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._directory = directory
        state = _read_state(directory)
        self.clock = OffsetClock(timedelta(seconds=state.get("offset_seconds", 0)))
        # A new seed for each run: serials and topics must not come twice.
        seed = int(state.get("runs", 0)) + 1
        self._runs = seed
        self.authority = Authority(self.clock, seed, cas=_read_cas(directory))
        self.authority.revoked = {
            int(serial): datetime.fromisoformat(at)
            for serial, at in state.get("revoked", {}).items()
        }
        self.portal = Portal(self.authority, self.clock, random.Random(f"portal {seed}"))  # noqa: S311
        for row in state.get("issued", []):
            self.portal.restore(
                row["apple_account"],
                row["vendor"],
                x509.load_pem_x509_certificate(row["certificate"].encode()),
            )
        devices = DeviceRegistry(random.Random(f"devices {seed}"))  # noqa: S311  (a lab's)
        # What ended comes first: to unregister a token ends all that it has by then.
        for token, topic, gone in sorted(state.get("devices", []), key=lambda d: d[2] is None):
            devices.register(bytes.fromhex(token), topic)
            if gone is not None:
                devices.unregister(bytes.fromhex(token), datetime.fromisoformat(gone))
        self.gateway = ApnsGateway(
            self.authority, self.clock, port=apns_port, seed=seed, devices=devices
        )
        self._server = PortalServer(
            self.portal, self.gateway, self.clock, port=portal_port, changed=self.save
        )
        self.authority.ocsp_url = self._server.ocsp_url

    def __enter__(self) -> Self:
        self.gateway.start()
        self._server.start()
        self._write_files()
        self.save()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._server.stop()
        self.gateway.stop()
        self.save()

    def describe(self) -> dict[str, Any]:
        """What a client needs to know; the one JSON line of `pushcert lab up`."""
        return {
            "apns_host": self.gateway.host,
            "apns_port": self.gateway.port,
            "portal_url": self._server.url,
            "ca_file": str(self._directory / GATEWAY_CA),
            "trust_file": str(self._directory / TRUST),
            "signing_certificate": str(self._directory / SIGNING_CERTIFICATE),
            "signing_key": str(self._directory / SIGNING_KEY),
            "pid": os.getpid(),
        }

    def save(self) -> None:
        """Writes what must outlive the process, by rename."""
        state = {
            "runs": self._runs,
            "offset_seconds": self.clock.offset.total_seconds(),
            "revoked": {
                str(serial): at.isoformat() for serial, at in self.authority.revoked.items()
            },
            "issued": [
                {
                    "apple_account": account,
                    "vendor": vendor,
                    "certificate": certificate.public_bytes(Encoding.PEM).decode(),
                }
                for account, vendor, certificate in self.portal.issued()
            ],
            "devices": [
                [token.hex(), topic, None if gone is None else gone.isoformat()]
                for token, topic, gone in self.gateway.devices.all()
            ],
        }
        _write(self._directory / STATE, json.dumps(state).encode(), 0o600)

    def _write_files(self) -> None:
        for name in _CAS:
            ca: LabCa = getattr(self.authority, name)
            _write(self._directory / f"{name}.key", key_to_pem(ca.key, None), 0o600)
            _write(
                self._directory / f"{name}.pem", ca.certificate.public_bytes(Encoding.PEM), 0o644
            )
        self.gateway.write_ca(self._directory / GATEWAY_CA)
        _write(self._directory / TRUST, self.authority.trust_pem().encode(), 0o644)
        if not (self._directory / SIGNING_KEY).exists():
            key = generate_key()
            certificate = self.authority.issue_signing_certificate(key.public_key(), VENDOR)
            _write(self._directory / SIGNING_KEY, key_to_pem(key, None), 0o600)
            _write(
                self._directory / SIGNING_CERTIFICATE,
                certificate.public_bytes(Encoding.PEM),
                0o644,
            )


def _read_state(directory: Path) -> dict[str, Any]:
    try:
        state: dict[str, Any] = json.loads((directory / STATE).read_bytes())
    except FileNotFoundError:
        return {}
    return state


def _read_cas(directory: Path) -> tuple[LabCa, LabCa, LabCa] | None:
    if not (directory / "aai.pem").exists():
        return None
    root, wwdr, aai = (
        LabCa(
            x509.load_pem_x509_certificate((directory / f"{name}.pem").read_bytes()),
            load_private_key((directory / f"{name}.key").read_bytes(), None),
        )
        for name in _CAS
    )
    return root, wwdr, aai


def _write(path: Path, data: bytes, mode: int) -> None:
    new = path.with_name(path.name + ".new")
    descriptor = os.open(new, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, mode)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
    new.replace(path)
