"""The agent: does in the instance what the vendor's plane wants of it.

Level-triggered: ``step`` asks what is wanted and does it. Every part can be repeated, so an
agent that was killed anywhere goes on at the next step. What leaves towards the vendor is a
CSR, a certificate's public part, answers of APNs and fingerprints; never a key or a token.
"""

from __future__ import annotations

from base64 import b64encode
from dataclasses import replace

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

from lifecycle.clock import Clock
from lifecycle.errors import (
    Finding,
    InternalFault,
    PushcertError,
    Refused,
    Unavailable,
    raise_for,
)
from lifecycle.instance.canaries import CanarySource
from lifecycle.instance.certificates import HeldCertificate
from lifecycle.instance.deploy.deployer import Deployed, Deployer
from lifecycle.instance.models import CertificateState
from lifecycle.instance.outcomes import Done, StepOutcome, UploadOutcome
from lifecycle.instance.probing import gather
from lifecycle.instance.proof import Proof, prove
from lifecycle.instance.pushes import Pushes
from lifecycle.instance.sealed_canaries import offer
from lifecycle.instance.upload import check_pair, check_upload
from lifecycle.instance.vault import Vault
from lifecycle.pki.chain import TrustStore
from lifecycle.pki.keys import load_private_key
from lifecycle.pki.push_certificate import PushCertificate
from lifecycle.pki.upload import Upload, read_upload
from lifecycle.wire.link import VendorLink
from lifecycle.wire.messages import (
    LONGEST_SENTENCE,
    Activation,
    CertificateSubmission,
    CheckWanted,
    CsrOrder,
    CsrSubmission,
    ReceivedCertificate,
    Sealing,
    Setback,
    SignedRequest,
    Work,
)


class Agent:
    """One instance's agent.

    Args:
        vault: the instance's vault, open.
        link: the line to the vendor.
        pushes: the way to APNs.
        canaries: finds the other tenant for isolation checks.
        clock: tells the time.
        trust: what push certificates must chain to.
        deployer: brings the active certificate to the MDM server; None: nobody does.
    """

    def __init__(
        self,
        vault: Vault,
        link: VendorLink,
        pushes: Pushes,
        canaries: CanarySource,
        clock: Clock,
        trust: TrustStore,
        deployer: Deployer | None = None,
    ) -> None:
        self._vault = vault
        self._link = link
        self._pushes = pushes
        self._canaries = canaries
        self._clock = clock
        self._trust = trust
        self._deployer = deployer

    def step(self) -> StepOutcome:
        """Does everything the vendor wants now, then what is owed to the deploy targets.

        Raises:
            Unavailable: the vendor or the vault cannot be reached; what was done stays done.
            Refused: the vault itself cannot be used.
        """
        try:
            outcome = self._step()
        except PushcertError:
            self.deploy()  # whatever is wrong with the vendor, the MDM server needs none
            raise
        return replace(outcome, done=(*outcome.done, *_as_done(self.deploy())))

    def deploy(self) -> tuple[Deployed, ...]:
        """Does what is owed to the deploy targets; whatever goes wrong there, nothing is raised."""
        if self._deployer is None:
            return ()
        try:
            return self._deployer.run()
        except PushcertError as fault:
            return (Deployed("deploy targets", "", "", "failed", str(fault), fault.code),)

    def _step(self) -> StepOutcome:
        work = self._link.work()
        done = [*self._retire(work)]
        setback: Setback | None = None
        refusals: Refused | None = None
        if work.csr is not None:
            try:
                done.append(self._send_csr(work.csr))
            except Refused as refused:
                refusals = refused
                setback = self._set_back(work.csr.renewal_id, refused)
        if work.received is not None:
            setback = self._take_received(work.received, done) or setback
        if work.sealing is not None:
            done += self._seal(work.sealing)
        if work.probes is not None:
            evidence = gather(self._vault, work.probes.check_id, self._pushes, self._canaries)
            self._link.report(evidence)
            said = evidence.fault or f"{len(evidence.answers)} answers"
            done.append(Done("evidence_sent", f"Isolation evidence sent: {said}."))
        return StepOutcome(
            tuple(done),
            setback,
            () if refusals is None else refusals.findings,
            work.ask_again_seconds,
        )

    def upload(self, data: bytes, accept_new_topic: str | None = None) -> UploadOutcome:
        """Takes a certificate from the portal: checks it here, then at the vendor's, activates it.

        Args:
            data: the file, whatever it is.
            accept_new_topic: the new topic, typed by a person who knows that every device must
                re-enrol; None refuses a changed topic.

        Raises:
            Refused: with every finding; nothing was written, here or at the vendor's.
            Unavailable: the vendor cannot be reached. If the certificate got through, the next
                ``step`` goes on with it; uploading it again does no harm either.
        """
        try:
            upload, notes = check_upload(
                self._vault, data, self._trust, self._clock.now(), accept_new_topic
            )
        except Refused as refused:
            raise self._with_the_vendors_findings(data, accept_new_topic, refused) from None
        certificate = upload.certificate
        receipt = self._link.submit_certificate(
            CertificateSubmission(
                certificate=certificate.pem,
                accept_new_topic=accept_new_topic,
                devices=None if accept_new_topic is None else self._vault.devices.enrolled(),
            )
        )
        if receipt.renewal_id is None:
            raise InternalFault("The vendor recorded a certificate for no renewal.")
        done: list[Done] = []
        setback = self._bring_in(certificate, receipt.renewal_id, done)
        if setback is None:
            done += _as_done(self.deploy())
        return UploadOutcome(certificate, receipt.renewal_id, notes, tuple(done), setback)

    def _with_the_vendors_findings(
        self, data: bytes, accept_new_topic: str | None, refused: Refused
    ) -> Refused:
        """The refusal, with what only the vendor can see: whose certificate it is."""
        try:
            pem = read_upload(data).certificate.pem
            self._link.submit_certificate(
                CertificateSubmission(
                    certificate=pem, accept_new_topic=accept_new_topic, only_check=True
                )
            )
        except Refused as theirs:
            known = set(refused.codes)
            more = (finding for finding in theirs.findings if finding.code not in known)
            return Refused((*refused.findings, *more))
        except Unavailable:
            return refused  # what is known here is reason enough
        return refused

    def adopt(
        self, key: bytes, certificate: bytes, passphrase: bytes | None = None
    ) -> HeldCertificate:
        """Takes in an existing pair, as the active certificate of a vault that has none.

        Args:
            key: the private key, PEM or DER, encrypted or not.
            certificate: the push certificate in any form an upload may have.
            passphrase: of the key; never from a command-line argument.

        Raises: as ``adopt_pair``, and what reading the two raises.
        """
        return self.adopt_pair(load_private_key(key, passphrase), read_upload(certificate))[0]

    def adopt_pair(
        self, key: RSAPrivateKey, upload: Upload
    ) -> tuple[HeldCertificate, tuple[Finding, ...]]:
        """The same with a pair that has been read; then what is owed to the deploy targets.

        The vendor is told, so that the first renewal renews this certificate and keeps its topic.

        Returns:
            The certificate as the vault has it, and notes about it.

        Raises:
            Refused: with every finding, the vendor's as well; nothing was written in the vault.
            Unavailable: the vendor cannot be reached; nothing was written in the vault.
        """
        now = self._clock.now()
        notes = raise_for(check_pair(key, upload, self._trust, now))
        self._vault.certificates.require_room(upload.certificate)
        self._link.submit_certificate(
            CertificateSubmission(certificate=upload.certificate.pem, adopted=True)
        )
        self._vault.certificates.adopt(key, upload.certificate, now)
        self.deploy()
        return self._vault.require_active(), notes

    def check_isolation(self) -> StepOutcome:
        """Has the isolation checked now, because a person wants it; then does what is wanted.

        Raises: as ``step``.
        """
        standing = self._link.work().standing
        self._link.report(CheckWanted(after=None if standing is None else standing.verdict_at))
        return self.step()

    def work(self) -> Work:
        """What the vendor wants, and how its books stand; does nothing. Raises ``Unavailable``."""
        return self._link.work()

    def request(self) -> SignedRequest | None:
        """The request that waits to be taken to the portal, or None. Raises ``Unavailable``."""
        return self._link.work().request

    def _retire(self, work: Work) -> list[Done]:
        current = [part.renewal_id for part in (work.csr, work.request, work.received) if part]
        if not current:
            return []
        retired = self._vault.keys.retire_before(max(current), self._clock.now())
        if not retired:
            return []
        sentence = f"{retired} keys of renewals that ended were set aside."
        return [Done("keys_retired", sentence, max(current))]

    def _seal(self, wanted: Sealing) -> list[Done]:
        seals = offer(self._vault, wanted)
        if seals is None:
            return []
        self._link.report(seals)
        sentence = f"The canary token was sealed for {len(seals.seals)} instances."
        return [Done("canary_sealed", sentence)]

    def _send_csr(self, order: CsrOrder) -> Done:
        pending = self._vault.pending_key(order, self._clock.now())
        self._link.submit_csr(
            CsrSubmission(renewal_id=order.renewal_id, csr=b64encode(pending.csr.der))
        )
        return Done("csr_sent", f"CSR for {order.common_name} sent.", order.renewal_id)

    def _take_received(self, received: ReceivedCertificate, done: list[Done]) -> Setback | None:
        # The vendor has checked and recorded it; the instance insists on its own key only.
        certificate = read_upload(received.certificate.encode()).certificate
        return self._bring_in(certificate, received.renewal_id, done)

    def _bring_in(
        self, certificate: PushCertificate, renewal_id: int, done: list[Done]
    ) -> Setback | None:
        """Candidate, own-token push, activation, report: each left out if it was done before."""
        try:
            held = self._vault.certificates.record_candidate(
                certificate, renewal_id, self._clock.now()
            )
            if held.state is CertificateState.CANDIDATE:
                proof = prove(self._vault, held, self._pushes, self._clock.now())
                if proof.code is not None:
                    return self._report_setback(renewal_id, proof.code, proof.message or "")
                held = self._activate(certificate, renewal_id, proof, done)
        except Refused as refused:
            return self._set_back(renewal_id, refused)
        self._link.report(
            Activation(
                renewal_id=renewal_id,
                fingerprint=certificate.fingerprint,
                own_push=held.own_push,
            )
        )
        done.append(Done("activation_reported", "The vendor knows.", renewal_id))
        return None

    def _activate(
        self, certificate: PushCertificate, renewal_id: int, proof: Proof, done: list[Done]
    ) -> HeldCertificate:
        own_push = None if proof.answer is None else proof.answer.as_probe()
        if own_push is not None:
            sentence = f"The own-token push was answered {own_push.status}."
            done.append(Done("own_push", sentence, renewal_id))
        held = self._vault.activate(certificate.fingerprint, self._clock.now(), own_push)
        sentence = f"The certificate with serial {certificate.serial} is active."
        done.append(Done("activated", sentence, renewal_id))
        return held

    def _set_back(self, renewal_id: int, refused: Refused) -> Setback:
        return self._report_setback(renewal_id, refused.codes[0], str(refused))

    def _report_setback(self, renewal_id: int, code: str, message: str) -> Setback:
        sentence = message[:LONGEST_SENTENCE]
        setback = Setback(renewal_id=renewal_id, code=code, message=sentence)
        self._link.report(setback)
        return setback


def _as_done(deployed: tuple[Deployed, ...]) -> list[Done]:
    return [
        Done("deploy_failed" if one.outcome == "failed" else one.outcome, one.sentence)
        for one in deployed
        if one.outcome not in ("waiting", "up_to_date")
    ]
