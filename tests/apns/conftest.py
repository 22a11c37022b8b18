"""APNs as Node.js would be it, and as the lab is."""

from __future__ import annotations

import random
import shutil
import subprocess
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from lifecycle.apns.client import RetryPolicy
from lifecycle.apns.gateway import Gateway
from lifecycle.apns.identity import ClientIdentity
from lifecycle.apns.push import Push
from lifecycle.apns.token import DeviceToken, PushMagic
from lifecycle.lab.authority import Authority
from lifecycle.lab.clock import LabClock
from lifecycle.lab.gateway import ApnsGateway
from lifecycle.pki.keys import generate_key
from lifecycle.pki.topic import Topic

NODE = shutil.which("node")
SCRIPT = Path(__file__).with_name("node_gateway.js")
TOPIC = "com.apple.mgmt.External.0f3a7f7e-6f5e-4d8a-9b1f-2c6a3e5d7b90"
HASTY = RetryPolicy(attempts=4, base=0.001, cap=0.002, timeout=1.0)


@pytest.fixture(scope="session")
def authority() -> Authority:
    return Authority(LabClock(datetime(2026, 11, 1, tzinfo=UTC)), seed=1)


@pytest.fixture(scope="session")
def identity(authority: Authority) -> ClientIdentity:
    key = generate_key()
    certificate = authority.issue_push_certificate(key.public_key(), TOPIC, days=36500)
    return ClientIdentity(certificate.public_bytes(Encoding.PEM).decode(), key)


@pytest.fixture(scope="session")
def stranger(identity: ClientIdentity) -> ClientIdentity:
    """The same key with a certificate of somebody else's CA."""
    other = Authority(LabClock(datetime(2026, 11, 1, tzinfo=UTC)), seed=2)
    certificate = other.issue_push_certificate(identity.key.public_key(), TOPIC, days=36500)
    return ClientIdentity(certificate.public_bytes(Encoding.PEM).decode(), identity.key)


@pytest.fixture(scope="session")
def node(authority: Authority, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    if NODE is None:
        pytest.skip("Node.js is not installed")
    folder = tmp_path_factory.mktemp("node")
    certificate, key = authority.server_credential()
    (folder / "ca.pem").write_text(authority.trust_pem())
    (folder / "server.pem").write_bytes(certificate)
    (folder / "server.key").write_bytes(key)
    process = subprocess.Popen(
        [NODE, str(SCRIPT), "ca.pem", "server.pem", "server.key"],
        cwd=folder,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    port = int(process.stdout.readline())
    yield Gateway("127.0.0.1", port, folder / "ca.pem")
    process.communicate()


@dataclass
class LabApns:
    """The lab's gateway, and how to reach it."""

    server: ApnsGateway
    gateway: Gateway


@pytest.fixture
def lab(authority: Authority, tmp_path: Path) -> Iterator[LabApns]:
    server = ApnsGateway(authority, authority.clock)
    server.start()
    server.write_ca(tmp_path / "ca.pem")
    yield LabApns(server, Gateway(server.host, server.port, tmp_path / "ca.pem"))
    server.stop()


MakePush = Callable[..., Push]


@pytest.fixture
def make_push() -> MakePush:
    rng = random.Random(4)  # noqa: S311

    def make(topic: str = TOPIC, token: bytes | None = None) -> Push:
        return Push(
            DeviceToken.from_bytes(token or rng.randbytes(32)),
            Topic(topic),
            PushMagic.random(rng),
            uuid.uuid4(),
        )

    return make
