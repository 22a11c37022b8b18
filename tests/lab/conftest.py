"""A lab, and the foreign clients that judge it: openssl s_client and aioapns."""

from __future__ import annotations

import random
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import Encoding

from lifecycle.lab.authority import Authority, LabCa
from lifecycle.lab.clock import LabClock
from lifecycle.lab.gateway import ApnsGateway
from lifecycle.lab.portal import Portal
from lifecycle.pki.chain import complete_chain
from lifecycle.pki.csr import build_csr
from lifecycle.pki.keys import generate_key, key_to_pem
from lifecycle.pki.request import KeySigner, sign_request

# Far from any host's clock, so that a test which passes does not owe it to that clock.
START = datetime(2041, 3, 1, 9, 0, tzinfo=UTC)
ACME = "com.apple.mgmt.External.11111111-2222-4333-8444-555555555555"
BIRCH = "com.apple.mgmt.External.99999999-8888-4777-8666-555555555555"

Identity = Callable[..., Path]
Requests = Callable[..., bytes]


@dataclass
class World:
    """One lab: its clock stands at ``START``."""

    clock: LabClock
    authority: Authority
    portal: Portal
    gateway: ApnsGateway


@pytest.fixture(scope="session")
def cas() -> tuple[LabCa, LabCa, LabCa]:
    """CAs for all tests: their keys cost most of a lab's start."""
    authority = Authority(LabClock(START))
    return authority.root, authority.wwdr, authority.aai


@pytest.fixture(scope="session")
def foreign_cas() -> tuple[LabCa, LabCa, LabCa]:
    """CAs of somebody else, with the very names of the lab's."""
    authority = Authority(LabClock(START))
    return authority.root, authority.wwdr, authority.aai


@pytest.fixture(scope="session")
def key() -> RSAPrivateKey:
    """A customer's key."""
    return generate_key()


@pytest.fixture(scope="session")
def vendor_key() -> RSAPrivateKey:
    """The key of the MDM signing certificate."""
    return generate_key()


@pytest.fixture
def world(cas: tuple[LabCa, LabCa, LabCa]) -> Iterator[World]:
    """A lab whose gateway is running."""
    clock = LabClock(START)
    authority = Authority(clock, 7, cas=cas)
    portal = Portal(authority, clock, random.Random(7))  # noqa: S311
    gateway = ApnsGateway(authority, clock, seed=7)
    gateway.start()
    yield World(clock, authority, portal, gateway)
    gateway.stop()


@pytest.fixture
def identity(world: World, key: RSAPrivateKey, tmp_path: Path) -> Identity:
    """Writes a client certificate for a topic, with its key, into one PEM file."""

    def write(topic: str = ACME, *, days: int = 365, authority: Authority | None = None) -> Path:
        issuer = authority or world.authority
        certificate = issuer.issue_push_certificate(key.public_key(), topic, days=days)
        path = tmp_path / f"{certificate.serial_number}.pem"
        path.write_bytes(certificate.public_bytes(Encoding.PEM) + key_to_pem(key, None))
        return path

    return write


@pytest.fixture
def ca_file(world: World, tmp_path: Path) -> Path:
    """The root that the gateway's clients trust."""
    path = tmp_path / "gateway-ca.pem"
    world.gateway.write_ca(path)
    return path


@pytest.fixture
def s_client(world: World, ca_file: Path) -> Callable[..., str]:
    """Everything openssl s_client says about one connection to the gateway."""

    def run(certificate: Path | None, *options: str, alpn: str = "h2") -> str:
        shown = ["-cert", str(certificate), "-key", str(certificate)] if certificate else []
        done = subprocess.run(
            [
                "openssl", "s_client", "-connect", f"127.0.0.1:{world.gateway.port}",
                "-CAfile", str(ca_file), "-alpn", alpn, "-ign_eof", *shown, *options,
            ],
            # The connection preface of HTTP/2 and a GOAWAY: the gateway then closes.
            input=b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
            + bytes.fromhex("000000040000000000" + "0000080700000000000000000000000000"),
            capture_output=True,
            timeout=30,
            check=False,
        )  # fmt: skip
        return (done.stdout + done.stderr).decode(errors="replace")

    return run


@pytest.fixture
def request_for(world: World, key: RSAPrivateKey, vendor_key: RSAPrivateKey) -> Requests:
    """A push certificate request as a vendor would sign it now."""
    certificate = world.authority.issue_signing_certificate(
        vendor_key.public_key(), "Example MDM", days=365
    )

    def make(email: str = "it@acme.example") -> bytes:
        chain, findings = complete_chain(certificate, world.authority.trust, at=START)
        assert chain is not None, findings
        csr = build_csr(key, email=email, common_name="Acme")
        return sign_request(csr, KeySigner(vendor_key), chain).encode().encode()

    return make
