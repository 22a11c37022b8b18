"""HTTP to an MDM server: TLS that is checked, and nothing in the clear."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from ipaddress import IPv4Address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from lifecycle.errors import Refused
from lifecycle.mdm_servers.nanomdm import NanoMdm
from lifecycle.mdm_servers.server import MAX_ANSWER_BYTES, Reach, instant
from tests.mdm_servers.stand_ins import API_KEY, NanoMdmServer

TOPIC = "com.apple.mgmt.External.0a4d8f1e-1111-4c22-9a33-5d6e7f809101"
FOUND = (200, {"topic": TOPIC, "not_after": "2027-03-01T09:00:00Z"})


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A server certificate for loopback that is its own CA, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "mdm.customer.example")])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(datetime(2000, 1, 1, tzinfo=UTC))
        .not_valid_after(datetime(2099, 1, 1, tzinfo=UTC))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(IPv4Address("127.0.0.1"))]), critical=False
        )
        .sign(key, hashes.SHA256())
    )
    folder = tmp_path_factory.mktemp("tls")
    (folder / "ca.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    (folder / "key.pem").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return folder / "ca.pem", folder / "key.pem"


@pytest.fixture
def server(tls: tuple[Path, Path]) -> Iterator[NanoMdmServer]:
    with NanoMdmServer(tls) as running:
        running.instead = lambda _: FOUND
        yield running


def client(url: str, ca_file: Path | None = None, *, plain_http: bool = False) -> NanoMdm:
    return NanoMdm(Reach(url, ca_file, 5.0, plain_http), lambda: API_KEY.encode())


def test_a_server_of_ones_own_ca_is_trusted_by_its_ca_file(
    server: NanoMdmServer, tls: tuple[Path, Path]
) -> None:
    found = client(server.url, tls[0]).get(TOPIC)
    assert found is not None
    assert found.not_after == datetime(2027, 3, 1, 9, tzinfo=UTC)


def test_a_server_that_the_system_does_not_know_gets_nothing(server: NanoMdmServer) -> None:
    with pytest.raises(Refused) as refused:
        client(server.url).put(b"the key")
    assert refused.value.codes == ("mdm_server_untrusted",)
    assert server.requests == []


def test_a_server_of_another_name_gets_nothing(
    server: NanoMdmServer, tls: tuple[Path, Path]
) -> None:
    with pytest.raises(Refused) as refused:
        client(server.url.replace("127.0.0.1", "localhost"), tls[0]).put(b"the key")
    assert refused.value.codes == ("mdm_server_untrusted",)
    assert server.requests == []


def test_a_ca_file_that_is_none_is_named(server: NanoMdmServer, tmp_path: Path) -> None:
    for path in (tmp_path / "missing.pem", Path(__file__)):
        with pytest.raises(Refused) as refused:
            client(server.url, path).get(TOPIC)
        assert refused.value.codes == ("mdm_server_ca_unreadable",)
        assert str(path) in str(refused.value)


def test_another_machine_is_not_spoken_to_in_the_clear() -> None:
    with pytest.raises(Refused) as refused:
        client("http://mdm.customer.example").put(b"the key")
    assert refused.value.codes == ("mdm_server_plain_http",)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_this_machine_is(host: str) -> None:
    with NanoMdmServer() as plain:
        plain.instead = lambda _: FOUND
        url = plain.url.replace("127.0.0.1", host)
        assert client(url).get(TOPIC) is not None


def test_a_path_in_the_url_is_kept_and_a_proxy_of_the_environment_is_not_asked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:9")
    with NanoMdmServer() as plain:
        plain.instead = lambda _: FOUND
        client(plain.url + "/mdm/").get(TOPIC)
    assert plain.requests[0].path.startswith("/mdm/v1/pushcert?")


def test_an_answer_without_end_is_not_read_to_the_end() -> None:
    with NanoMdmServer() as plain:
        plain.instead = lambda _: (200, b" " * (MAX_ANSWER_BYTES + 1))
        with pytest.raises(Refused) as refused:
            client(plain.url).get(TOPIC)
        assert refused.value.codes == ("mdm_server_answer_wrong",)


def test_a_key_that_no_header_can_carry_is_refused_without_being_shown() -> None:
    from lifecycle.mdm_servers.zentral import Zentral

    with pytest.raises(Refused) as refused:
        Zentral(Reach("http://127.0.0.1:9"), lambda: "schlüssel".encode()).certificates()
    assert refused.value.codes == ("mdm_key_unusable",)
    assert "schl" not in str(refused.value)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("2027-03-01T09:00:00Z", datetime(2027, 3, 1, 9, tzinfo=UTC)),
        ("2027-03-01T10:00:00+01:00", datetime(2027, 3, 1, 9, tzinfo=UTC)),
        ("2027-03-01T09:00:00", datetime(2027, 3, 1, 9, tzinfo=UTC)),
        ("soon", None),
        (None, None),
        (5, None),
    ],
)
def test_times_without_a_zone_are_utc(text: object, found: datetime | None) -> None:
    assert instant(text) == found
