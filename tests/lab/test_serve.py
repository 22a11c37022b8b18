"""The lab over HTTP, and what of it outlives its process."""

from __future__ import annotations

import json
import os
import signal
import ssl
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

from lifecycle.errors import Refused, Unavailable
from lifecycle.lab.portal_client import PortalClient
from lifecycle.lab.serve import Lab
from lifecycle.pki.chain import TrustStore, complete_chain, parse_certificates
from lifecycle.pki.csr import build_csr
from lifecycle.pki.keys import key_to_pem, load_private_key
from lifecycle.pki.push_certificate import PushCertificate
from lifecycle.pki.request import KeySigner, sign_request
from lifecycle.pki.revocation import build_ocsp_request, read_ocsp_response

ACCOUNT = "it@acme.example"


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    with Lab(tmp_path_factory.mktemp("lab") / "lab") as running:
        yield running


@pytest.fixture
def client(lab: Lab) -> PortalClient:
    return PortalClient(lab.describe()["portal_url"])


def request_at(lab: dict[str, Any], key: RSAPrivateKey, at: datetime) -> bytes:
    """A request signed with what ``describe`` offers: all that a stranger to the lab has."""
    leaf = x509.load_pem_x509_certificate(Path(lab["signing_certificate"]).read_bytes())
    signer = KeySigner(load_private_key(Path(lab["signing_key"]).read_bytes(), None))
    trust = TrustStore.of(parse_certificates(Path(lab["trust_file"]).read_bytes()))
    chain, findings = complete_chain(leaf, trust, at=at)
    assert chain is not None, findings
    csr = build_csr(key, email=ACCOUNT, common_name="Acme")
    return sign_request(csr, signer, chain).encode().encode()


def push(lab: dict[str, Any], identity: Path, token: bytes, topic: str) -> httpx.Response:
    context = ssl.create_default_context(cafile=lab["ca_file"])
    context.load_cert_chain(identity)
    url = f"https://{lab['apns_host']}:{lab['apns_port']}/3/device/{token.hex()}"
    headers = {"apns-push-type": "mdm", "apns-topic": topic}
    with httpx.Client(http1=False, http2=True, verify=context, trust_env=False) as http:
        return http.post(url, headers=headers, content=b'{"mdm":"M"}')


def post(lab: Lab, path: str, **document: Any) -> httpx.Response:
    return httpx.post(lab.describe()["portal_url"] + path, json=document, trust_env=False)


def test_from_the_request_to_a_push_with_nothing_but_what_the_lab_tells(
    lab: Lab, client: PortalClient, key: RSAPrivateKey, tmp_path: Path
) -> None:
    told = lab.describe()
    request = request_at(told, key, lab.clock.now())
    pem = client.create(ACCOUNT, request)
    first = PushCertificate.from_certificate(x509.load_pem_x509_certificate(pem))
    renewed = PushCertificate.from_certificate(
        x509.load_pem_x509_certificate(client.renew(ACCOUNT, request, first.serial))
    )
    assert renewed.topic == first.topic
    assert renewed.serial in [row["serial"] for row in client.certificates(ACCOUNT)]
    identity = tmp_path / "identity.pem"
    identity.write_bytes(pem + key_to_pem(key, None))
    said = push(told, identity, client.register_device(first.topic), first.topic)
    assert said.status_code == 200


def test_a_refusal_comes_through_with_its_codes(lab: Lab, client: PortalClient) -> None:
    with pytest.raises(Refused) as refused:
        client.renew(ACCOUNT, b"no request", "00")
    assert refused.value.codes == ("portal_row_missing",)
    with pytest.raises(Refused) as refused:
        client.create(ACCOUNT, b"no request")
    assert refused.value.codes == ("request_missing",)


def test_the_certificates_own_ocsp_address_answers(
    lab: Lab, client: PortalClient, key: RSAPrivateKey
) -> None:
    pem = client.create(ACCOUNT, request_at(lab.describe(), key, lab.clock.now()))
    certificate = x509.load_pem_x509_certificate(pem)
    push_certificate = PushCertificate.from_certificate(certificate)
    issuer = lab.authority.aai.certificate

    def revoked() -> bool:
        assert push_certificate.ocsp_url is not None
        said = httpx.post(
            push_certificate.ocsp_url,
            content=build_ocsp_request(certificate, issuer),
            headers={"Content-Type": "application/ocsp-request"},
            trust_env=False,
        )
        assert said.headers["content-type"] == "application/ocsp-response"
        at = lab.clock.now() + timedelta(seconds=1)
        return read_ocsp_response(said.content, certificate, issuer, at=at).revoked

    assert not revoked()
    client.revoke(ACCOUNT, push_certificate.serial)
    assert revoked()


def test_faults_and_clock_are_set_over_http(lab: Lab) -> None:
    assert post(lab, "/faults", outage=True, queue=["429"]).status_code == 200
    assert lab.gateway.faults.outage
    assert lab.gateway.faults.next() == "429"
    assert post(lab, "/faults", clear=True).status_code == 200
    assert not lab.gateway.faults.outage
    assert post(lab, "/faults", queue=["nonsense"]).status_code == 422
    before = lab.clock.now()
    moved = post(lab, "/clock", advance_seconds=86400 * 30).json()["now"]
    assert datetime.fromisoformat(moved) >= before + timedelta(days=30)
    assert post(lab, "/clock", now="2041-03-01T09:00:00").status_code == 422  # no zone
    post(lab, "/clock", advance_seconds=-86400 * 30)


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/nowhere", b"{}", 404),
        ("/create", b"[1]", 400),
        ("/create", b"not json", 400),
        ("/create", b"[" * 5000, 400),
        ("/create", '{"apple_account": "a", "request": "é"}'.encode(), 422),
        ("/create", b"{}", 422),
        ("/create", b'{"apple_account": "a", "request": "%%%"}', 422),
        ("/devices", b'{"topic": "t", "token": "zz"}', 422),
        ("/ocsp", b"rubbish", 200),
    ],
)
def test_a_malformed_call_is_told_so_and_the_lab_lives_on(
    lab: Lab, path: str, body: bytes, status: int
) -> None:
    url = lab.describe()["portal_url"]
    assert httpx.post(url + path, content=body, trust_env=False).status_code == status
    assert httpx.get(url + "/clock", trust_env=False).status_code == 200


def test_many_at_once_get_certificates_of_their_own(
    lab: Lab, client: PortalClient, key: RSAPrivateKey
) -> None:
    request = request_at(lab.describe(), key, lab.clock.now())
    threads = [
        threading.Thread(target=client.create, args=("crowd@acme.example", request))
        for _ in range(12)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    rows = client.certificates("crowd@acme.example")
    assert len({row["serial"] for row in rows}) == len({row["topic"] for row in rows}) == 12


def test_a_lab_that_is_not_there_is_unavailable() -> None:
    with pytest.raises(Unavailable, match="lab up"):
        PortalClient("http://127.0.0.1:1").certificates(ACCOUNT)


def test_a_stopped_lab_goes_on_where_it_was(tmp_path: Path, key: RSAPrivateKey) -> None:
    directory = tmp_path / "lab"
    with Lab(directory) as lab:
        lab.clock.offset = timedelta(days=100)
        client = PortalClient(lab.describe()["portal_url"])
        request = request_at(lab.describe(), key, lab.clock.now())
        pem = client.create(ACCOUNT, request)
        client.create(ACCOUNT, request)
        first, second = client.certificates(ACCOUNT)
        client.revoke(ACCOUNT, second["serial"])
        alive, gone = (client.register_device(first["topic"]) for _ in range(2))
        lab.gateway.unregister(gone)
        root = lab.authority.root.certificate
    with Lab(directory) as lab:
        assert lab.authority.root.certificate == root
        assert lab.clock.offset == timedelta(days=100)
        client = PortalClient(lab.describe()["portal_url"])
        assert client.certificates(ACCOUNT) == [first, {**second, "revoked": True}]
        renewed = PushCertificate.from_certificate(
            x509.load_pem_x509_certificate(client.renew(ACCOUNT, request, first["serial"]))
        )
        other = PushCertificate.from_certificate(
            x509.load_pem_x509_certificate(client.create(ACCOUNT, request))
        )
        assert renewed.topic == first["topic"]
        assert renewed.serial not in (first["serial"], second["serial"])
        assert other.topic not in (first["topic"], second["topic"])
        fresh = client.register_device(first["topic"])
        assert fresh not in (alive, gone)
        identity = tmp_path / "identity.pem"
        identity.write_bytes(pem + key_to_pem(key, None))
        statuses = [
            push(lab.describe(), identity, token, first["topic"]).status_code
            for token in (alive, gone, fresh)
        ]
        assert statuses == [200, 410, 200]


def test_a_device_that_is_alive_under_one_topic_stays_so_beside_one_it_left(
    tmp_path: Path,
) -> None:
    directory = tmp_path / "lab"
    earlier, later = "com.apple.mgmt.External.a", "com.apple.mgmt.External.b"
    with Lab(directory) as lab:
        token = lab.gateway.register_device(earlier)
        lab.gateway.register(token, later)
        lab.gateway.unregister(token)
        lab.gateway.register(token, earlier)
        kept = sorted(lab.gateway.devices.all(), key=repr)
    with Lab(directory) as lab:
        assert sorted(lab.gateway.devices.all(), key=repr) == kept


def test_the_directory_and_every_key_in_it_are_the_owners_alone(lab: Lab) -> None:
    directory = Path(lab.describe()["ca_file"]).parent
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    private = [p for p in directory.iterdir() if p.suffix == ".key" or p.name == "lab.json"]
    assert len(private) == 5
    assert {stat.S_IMODE(p.stat().st_mode) for p in private} == {0o600}


def test_lab_up_prints_one_line_serves_and_ends_on_sigterm(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "cli", "lab", "up", "--dir", str(tmp_path / "lab")]
    root = Path(__file__).parents[2]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=root) as process:
        try:
            assert process.stdout is not None
            told = json.loads(process.stdout.readline())
            assert told["pid"] == process.pid
            now = httpx.get(told["portal_url"] + "/clock", trust_env=False).json()["now"]
            assert datetime.fromisoformat(now).tzinfo is not None
            os.kill(process.pid, signal.SIGTERM)
            rest = process.stdout.read()
            assert process.wait(timeout=30) == 0
            assert rest == ""
        finally:
            process.kill()
    assert (tmp_path / "lab" / "lab.json").exists()
