"""A small world around one vault: an authority that issues, a vendor that wants, an APNs that
answers as it is told, and an observer that can end everything at any write boundary."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from lifecycle.apns.probes import OtherTenant
from lifecycle.apns.token import DeviceToken, PushMagic
from lifecycle.boundary import Unobserved, WriteObserver
from lifecycle.errors import Refused, Unavailable
from lifecycle.instance.agent import Agent
from lifecycle.instance.deploy.deployer import Deployer
from lifecycle.instance.deploy.target import Target
from lifecycle.instance.devices import Device
from lifecycle.instance.export import active_pair
from lifecycle.instance.pushes import Credential, DeviceAnswer
from lifecycle.instance.vault import Vault
from lifecycle.pki.chain import TrustStore
from lifecycle.pki.csr import read_csr
from lifecycle.pki.keys import generate_key
from lifecycle.pki.pair import Pair
from lifecycle.pki.push_certificate import PushCertificate
from lifecycle.pki.topic import Topic
from lifecycle.wire.memory import MemoryLink
from lifecycle.wire.messages import (
    Activation,
    AnyReport,
    CertificateReceipt,
    CertificateSubmission,
    CsrOrder,
    CsrSubmission,
    Deployment,
    Evidence,
    Probe,
    ProbeAnswer,
    ProbeOrder,
    ReceivedCertificate,
    Setback,
    SignedRequest,
    Work,
)
from tests.instance.networked_link import MakeLink, networked

START = datetime(2027, 3, 1, 9, 0, tzinfo=UTC)
TOPIC = Topic("com.apple.mgmt.External.0a4d8f1e-1111-4c22-9a33-5d6e7f809101")
OTHER_TOPIC = Topic("com.apple.mgmt.External.77c0ffee-2222-4c22-9a33-5d6e7f809102")
YEAR = timedelta(days=365)


class MovableClock:
    """A clock that stands until it is moved."""

    def __init__(self) -> None:
        self.instant = START

    def now(self) -> datetime:
        return self.instant

    def advance(self, by: timedelta) -> None:
        self.instant += by


class Killed(BaseException):
    """The process would be gone here: nothing in the product may catch it."""


class Executioner:
    """Counts write boundaries and ends the world at the chosen one."""

    def __init__(self, at: int | None = None) -> None:
        self.at = at
        self.seen: list[str] = []

    def reached(self, boundary: str) -> None:
        self.seen.append(boundary)
        if self.at is not None and len(self.seen) == self.at:
            raise Killed(boundary)


class PushAuthority:
    """Issues push certificates shaped like Apple's, by a root and an intermediate."""

    def __init__(self, root_key: RSAPrivateKey, issuer_key: RSAPrivateKey) -> None:
        self._issuer_key = issuer_key
        self._serials = itertools.count(0x5A01)
        root_name = _name("Example Root")
        self._issuer_name = _name("Example Application Integration CA")
        self.root = _certificate(root_name, root_key, root_name, root_key, ca=True)
        self.issuer = _certificate(self._issuer_name, issuer_key, root_name, root_key, ca=True)
        self.trust = TrustStore.of([self.root, self.issuer])

    def issue(
        self,
        public_key: RSAPublicKey,
        topic: Topic = TOPIC,
        *,
        start: datetime = START,
        life: timedelta = YEAR,
        serial: int | None = None,
    ) -> bytes:
        """A push certificate as the portal gives it: PEM."""
        subject = x509.Name(
            [
                x509.NameAttribute(NameOID.USER_ID, str(topic)),
                x509.NameAttribute(NameOID.COMMON_NAME, f"APSP:{topic.rpartition('.')[2]}"),
                x509.NameAttribute(NameOID.COUNTRY_NAME, "US"),
            ]
        )
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._issuer_name)
            .public_key(public_key)
            .serial_number(next(self._serials) if serial is None else serial)
            .not_valid_before(start)
            .not_valid_after(start + life)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self._issuer_key.public_key()),
                critical=False,
            )
        )
        return builder.sign(self._issuer_key, hashes.SHA256()).public_bytes(Encoding.PEM)


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _certificate(
    subject: x509.Name, key: RSAPrivateKey, issuer: x509.Name, by: RSAPrivateKey, *, ca: bool
) -> x509.Certificate:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(datetime(2000, 1, 1, tzinfo=UTC))
        .not_valid_after(datetime(2099, 1, 1, tzinfo=UTC))
        .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(by.public_key()), critical=False
        )
        .add_extension(
            x509.KeyUsage(
                digital_signature=False,
                content_commitment=False,
                key_encipherment=False,
                data_encipherment=False,
                key_agreement=False,
                key_cert_sign=True,
                crl_sign=True,
                encipher_only=False,
                decipher_only=False,
            ),
            critical=True,
        )
        .sign(by, hashes.SHA256())
    )


class Vendor:
    """A ``VendorLink`` that keeps to the contract: one renewal, idempotent, in memory.

    Outlives the crashes of the instance, as a vendor does.
    """

    def __init__(self) -> None:
        self.observer: WriteObserver = Unobserved()
        self.renewal_id = 0
        self.wants_csr = False
        self.csr: bytes | None = None
        self.signed = False
        self.received: str | None = None
        self.check_id: int | None = None
        self.csrs: dict[int, list[bytes]] = {}
        self.activations: list[Activation] = []
        self.evidence: list[Evidence] = []
        self.setbacks: list[Setback] = []
        self.deployments: list[Deployment] = []
        self.adopted: list[str] = []
        self.is_down = False
        self.refuses_csr: Refused | None = None
        self.refuses_certificate: Refused | None = None
        self.common_name = "Acme Corp"

    def open_renewal(self) -> None:
        self.renewal_id += 1
        self.wants_csr, self.csr, self.signed, self.received = True, None, False, None

    def order_check(self) -> None:
        self.check_id = 100 + len(self.evidence)

    def sign(self) -> None:
        self.signed = True

    def work(self) -> Work:
        if self.is_down:
            raise Unavailable("The vendor cannot be reached.", "Try again.")
        order = CsrOrder(
            renewal_id=self.renewal_id, email="it@acme.example", common_name=self.common_name
        )
        waiting = self.signed and self.received is None
        return Work(
            csr=order if self.wants_csr else None,
            request=SignedRequest(renewal_id=self.renewal_id, request="…") if waiting else None,
            received=None
            if self.received is None
            else ReceivedCertificate(renewal_id=self.renewal_id, certificate=self.received),
            probes=None if self.check_id is None else ProbeOrder(check_id=self.check_id),
        )

    def submit_csr(self, submission: CsrSubmission) -> None:
        if self.refuses_csr is not None:
            raise self.refuses_csr
        self.observer.reached("vendor.commit:before")
        self.csrs.setdefault(submission.renewal_id, []).append(bytes(submission.csr))
        self.csr, self.wants_csr = bytes(submission.csr), False
        self.observer.reached("vendor.commit:after")

    def submit_certificate(self, submission: CertificateSubmission) -> CertificateReceipt:
        if self.refuses_certificate is not None:
            raise self.refuses_certificate
        certificate = _push_certificate(submission.certificate)
        if self.is_down:
            raise Unavailable("The vendor cannot be reached.", "Try again.")
        if submission.adopted:
            self.adopted.append(certificate.fingerprint)
            return CertificateReceipt(fingerprint=certificate.fingerprint)
        receipt = CertificateReceipt(
            renewal_id=self.renewal_id, fingerprint=certificate.fingerprint
        )
        if submission.only_check:
            return receipt
        self.observer.reached("vendor.commit:before")
        self.received = submission.certificate
        self.observer.reached("vendor.commit:after")
        return receipt

    def report(self, report: AnyReport) -> None:
        if self.is_down:
            raise Unavailable("The vendor cannot be reached.", "Try again.")
        self.observer.reached("vendor.commit:before")
        if isinstance(report, Activation):
            if self.received is not None:
                self.activations.append(report)
            self.received, self.signed, self.csr = None, False, None
        elif isinstance(report, Evidence):
            if self.check_id is not None:
                self.evidence.append(report)
            self.check_id = None
        elif isinstance(report, Setback):
            self.setbacks.append(report)
        elif isinstance(report, Deployment):
            self.deployments.append(report)
        self.observer.reached("vendor.commit:after")


def _push_certificate(pem: str) -> PushCertificate:
    return PushCertificate.from_der(
        x509.load_pem_x509_certificate(pem.encode()).public_bytes(Encoding.DER)
    )


@dataclass
class Apns:
    """``Pushes`` that answers as it is told.

    Attributes:
        answers: what to say to a UDID: (status, reason) or (None, fault); else a 200.
        pushed: serial of the certificate and UDID of every push, in order.
    """

    clock: MovableClock
    answers: dict[str, tuple[int | None, str | None]] = field(default_factory=dict)
    pushed: list[tuple[str, str]] = field(default_factory=list)
    probed: list[tuple[str, str, str]] = field(default_factory=list)
    observer: WriteObserver = field(default_factory=Unobserved)

    def push(self, credential: Credential, devices: Sequence[Device]) -> tuple[DeviceAnswer, ...]:
        return tuple(self._push(credential, device) for device in devices)

    def _push(self, credential: Credential, device: Device) -> DeviceAnswer:
        self.pushed.append((credential.certificate.serial, device.udid))
        status, said = self.answers.get(device.udid, (200, None))
        self.observer.reached("apns.answer")
        return DeviceAnswer(
            udid=device.udid,
            topic=device.topic,
            token_fingerprint=device.token.fingerprint,
            status=status,
            reason=said if status is not None else None,
            fault=said if status is None else None,
            apns_id="6f1c2d3e-0000-4000-8000-000000000001",
            at=self.clock.now(),
        )

    def probe(
        self, credential: Credential, own: Device, other: OtherTenant
    ) -> tuple[ProbeAnswer, ...]:
        self.probed.append((credential.certificate.serial, own.udid, other.topic))
        first = self._push(credential, own).as_probe()
        if first.status != 200:
            return (first,)
        foreign = ProbeAnswer(
            probe=Probe.FOREIGN_TOKEN,
            topic=own.topic,
            token_fingerprint=other.token.fingerprint,
            status=400,
            reason="DeviceTokenNotForTopic",
            at=self.clock.now(),
        )
        return (first, foreign)


class OneTenant:
    """A ``CanarySource`` with one tenant, or none."""

    def __init__(self, tenant: OtherTenant | None) -> None:
        self.tenant = tenant

    def other_tenant(self, own_topic: Topic) -> OtherTenant | None:  # noqa: ARG002
        return self.tenant


def make_device(udid: str, topic: Topic = TOPIC) -> Device:
    """A device whose token follows from its UDID."""
    return Device(
        udid=udid,
        topic=topic,
        token=DeviceToken.from_bytes(hashlib.sha256(udid.encode()).digest()),
        push_magic=PushMagic(f"MAGIC-{udid}-MAGIC"),
    )


@dataclass
class World:
    """One instance and everything around it."""

    directory: Path
    clock: MovableClock
    authority: PushAuthority
    vendor: Vendor
    apns: Apns
    canaries: OneTenant
    crossed: list[bytes]
    vault: Vault
    observer: WriteObserver
    link: MakeLink = MemoryLink
    targets: list[Target] = field(default_factory=list)

    @property
    def agent(self) -> Agent:
        return Agent(
            self.vault,
            self.link(self.vendor, self.crossed.append),
            self.apns,
            self.canaries,
            self.clock,
            self.authority.trust,
            self.deployer,
        )

    @property
    def deployer(self) -> Deployer:
        link = self.link(self.vendor, self.crossed.append)
        return Deployer(self.vault, link, self.targets, self.clock, self.authority.trust)

    def pair(self) -> Pair:
        """The active pair."""
        return active_pair(self.vault, self.authority.trust, self.clock.now())

    def observe(self, observer: WriteObserver) -> None:
        """Lets ``observer`` see every boundary from now on; opens the vault anew."""
        self.observer = self.vendor.observer = self.apns.observer = observer
        self.reopen()

    def reopen(self) -> None:
        self.vault.close()
        self.vault = Vault.open(self.directory, observer=self.observer)

    def issue(self, topic: Topic = TOPIC, *, life: timedelta = YEAR) -> bytes:
        """What the portal gives for the CSR that the vendor has."""
        assert self.vendor.csr is not None
        key = read_csr(self.vendor.csr).parsed.public_key()
        assert isinstance(key, RSAPublicKey)
        return self.authority.issue(key, topic, start=self.clock.now(), life=life)

    def renew_until_upload(self, topic: Topic = TOPIC) -> bytes:
        """Opens a renewal and goes on until the customer holds the certificate."""
        self.vendor.open_renewal()
        self.agent.step()
        self.vendor.sign()
        return self.issue(topic)

    def renew(self) -> PushCertificate:
        """One whole renewal without trouble."""
        outcome = self.agent.upload(self.renew_until_upload())
        assert outcome.activated
        return outcome.certificate

    def import_device(self, udid: str, topic: Topic = TOPIC) -> Device:
        device = make_device(udid, topic)
        self.vault.devices.add_all([device], None, self.clock.now())
        return device

    def files(self) -> dict[str, tuple[str, int]]:
        """Hash and mode of every file of the vault."""
        return {
            path.name: (hashlib.sha256(path.read_bytes()).hexdigest(), path.stat().st_mode)
            for path in sorted(self.directory.iterdir())
        }


@pytest.fixture(scope="session")
def key_pool() -> tuple[RSAPrivateKey, ...]:
    return tuple(generate_key() for _ in range(8))


@pytest.fixture(scope="session")
def authority(key_pool: tuple[RSAPrivateKey, ...]) -> PushAuthority:
    return PushAuthority(key_pool[-1], key_pool[-2])


@pytest.fixture
def pooled_keys(key_pool: tuple[RSAPrivateKey, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    """Keys come from the pool, in order, so that generating them costs nothing."""
    pool = itertools.cycle(key_pool[:4])
    monkeypatch.setattr("lifecycle.instance.keys.generate_key", lambda: next(pool))


@pytest.fixture
def crash() -> tuple[type[Executioner], type[BaseException]]:
    """What ends the world, and the exception that stands for the end."""
    return Executioner, Killed


@pytest.fixture
def build_world(tmp_path: Path, authority: PushAuthority) -> Iterator[Callable[[], World]]:
    built: list[World] = []

    def build() -> World:
        clock = MovableClock()
        directory = tmp_path / f"vault-{len(built)}"
        tenant = OtherTenant(OTHER_TOPIC, make_device("other", OTHER_TOPIC).token)
        world = World(
            directory=directory,
            clock=clock,
            authority=authority,
            vendor=Vendor(),
            apns=Apns(clock),
            canaries=OneTenant(tenant),
            crossed=[],
            vault=Vault.create(directory),
            observer=Unobserved(),
        )
        built.append(world)
        return world

    yield build
    for world in built:
        world.vault.close()


@pytest.fixture(scope="session")
def over_the_network(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MakeLink]:
    """Links to a real server; one for the tests of a process."""
    with networked(tmp_path_factory.mktemp("vendor"), MovableClock()) as make:
        yield make


@pytest.fixture(params=["in memory", "over the network"])
def linked_world(
    request: pytest.FixtureRequest, build_world: Callable[[], World], pooled_keys: None
) -> World:
    """A world whose instance talks to the vendor by either way."""
    built = build_world()
    if request.param == "over the network":
        built.link = request.getfixturevalue("over_the_network")
    return built


@pytest.fixture
def world(build_world: Callable[[], World], pooled_keys: None) -> World:
    return build_world()
