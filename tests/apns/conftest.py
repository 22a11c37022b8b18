"""APNs as Node.js would be it, and as the lab is; customers with certificates for both."""

from __future__ import annotations

import json
import random
import shutil
import subprocess
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

from lifecycle.apns.gateway import Gateway
from lifecycle.apns.identity import ClientIdentity
from lifecycle.apns.push import Push
from lifecycle.apns.token import DeviceToken, PushMagic
from lifecycle.lab.authority import Authority, LabCa
from lifecycle.lab.clock import LabClock
from lifecycle.lab.gateway import ApnsGateway
from lifecycle.pki.keys import generate_key
from lifecycle.pki.topic import Topic
from tests.connect_proxy import Proxy, connect_proxy

NODE = shutil.which("node")
SCRIPT = Path(__file__).with_name("node_gateway.js")
TOPIC = "com.apple.mgmt.External.0f3a7f7e-6f5e-4d8a-9b1f-2c6a3e5d7b90"
# Certificates are judged by Node.js and openssl too, so by the host's clock: these are issued
# long ago for a century.
SINCE = datetime(2001, 1, 1, tzinfo=UTC)
CENTURY = 365 * 98

Issue = Callable[..., ClientIdentity]
MakePush = Callable[..., Push]


@pytest.fixture(scope="session")
def cas() -> tuple[LabCa, LabCa, LabCa]:
    authority = Authority(LabClock(SINCE), seed=1)
    return authority.root, authority.wwdr, authority.aai


@pytest.fixture(scope="session")
def key() -> RSAPrivateKey:
    return generate_key()


@pytest.fixture
def authority(cas: tuple[LabCa, LabCa, LabCa]) -> Authority:
    """The lab's Apple; its clock stands at ``SINCE``."""
    return Authority(LabClock(SINCE), seed=1, cas=cas)


@pytest.fixture
def issue(authority: Authority, key: RSAPrivateKey) -> Issue:
    """Makes a client identity for a topic."""

    def make(
        topic: str = TOPIC, *, days: int = CENTURY, by: Authority = authority, of: Any = key
    ) -> ClientIdentity:
        certificate = by.issue_push_certificate(of.public_key(), topic, days=days)
        return ClientIdentity(certificate, of)

    return make


@pytest.fixture
def identity(issue: Issue) -> ClientIdentity:
    """The customer's, for ``TOPIC``."""
    return issue()


@pytest.fixture(scope="session")
def strange_cas() -> tuple[LabCa, LabCa, LabCa]:
    authority = Authority(LabClock(SINCE), seed=2)
    return authority.root, authority.wwdr, authority.aai


@pytest.fixture
def stranger(issue: Issue, strange_cas: tuple[LabCa, LabCa, LabCa]) -> ClientIdentity:
    """One whose certificate another CA issued, under the same names."""
    return issue(by=Authority(LabClock(SINCE), seed=2, cas=strange_cas))


@pytest.fixture(scope="session")
def server_files(cas: tuple[LabCa, LabCa, LabCa], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ca.pem, server.pem and server.key for a server on loopback."""
    authority = Authority(LabClock(SINCE), seed=1, cas=cas)
    folder = tmp_path_factory.mktemp("server")
    certificate, key = authority.server_credential()
    (folder / "ca.pem").write_text(authority.trust_pem())
    (folder / "server.pem").write_bytes(certificate)
    (folder / "server.key").write_bytes(key)
    (folder / "both.pem").write_bytes(certificate + key)
    return folder


class NodeApns:
    """The foreign server: where it is, and what it tells."""

    def __init__(self, folder: Path) -> None:
        self._process = subprocess.Popen(
            [str(NODE), str(SCRIPT), "ca.pem", "server.pem", "server.key"],
            cwd=folder,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.gateway = Gateway("127.0.0.1", int(self._line()), folder / "ca.pem")

    def told(self) -> dict[str, Any]:
        """The next event; waits for it."""
        event: dict[str, Any] = json.loads(self._line())
        return event

    def stop(self) -> None:
        self._process.communicate()

    def _line(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, "Node.js has ended"
        return line


@pytest.fixture(scope="session")
def node(server_files: Path) -> Iterator[NodeApns]:
    if NODE is None:
        pytest.skip("Node.js is not installed; it plays a foreign APNs")
    server = NodeApns(server_files)
    yield server
    server.stop()


@pytest.fixture
def node_gateway(node: NodeApns) -> Gateway:
    return node.gateway


@pytest.fixture
def lab(authority: Authority) -> Iterator[ApnsGateway]:
    """The lab's APNs, running."""
    server = ApnsGateway(authority, authority.clock)
    server.start()
    yield server
    server.stop()


@pytest.fixture
def lab_gateway(lab: ApnsGateway, server_files: Path) -> Gateway:
    return Gateway(lab.host, lab.port, server_files / "ca.pem")


@pytest.fixture
def make_push() -> MakePush:
    """Makes a push to a token, or to a random one."""
    rng = random.Random(4)  # noqa: S311

    def make(topic: str = TOPIC, token: bytes | None = None) -> Push:
        return Push(
            DeviceToken.from_bytes(token or rng.randbytes(32)),
            Topic(topic),
            PushMagic.random(rng),
            uuid.uuid4(),
        )

    return make


@pytest.fixture
def proxy() -> Iterator[Proxy]:
    with connect_proxy() as proxy:
        yield proxy
