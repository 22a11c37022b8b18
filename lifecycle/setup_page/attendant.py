"""Carries out what people want from the page: uploads and checks, one deed after the other.

In a thread of its own, so that no page waits for a network: a page waits for a deed for a moment,
and then says how far it is.
"""

from __future__ import annotations

import queue
import secrets
import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from cryptography.hazmat.primitives.serialization import Encoding

from lifecycle.errors import Refused, Unavailable
from lifecycle.instance.agent import Agent
from lifecycle.pki.upload import Upload, read_upload
from lifecycle.setup_page.facts import RUNNING, Attempt, Deed, Shown, Stage
from lifecycle.setup_page.instance import SetupInstance
from lifecycle.setup_page.log import tell
from lifecycle.setup_page.lookout import Lookout

KEPT = 16
"""How many deeds are remembered; of older ones the vault and the vendor's books tell enough."""


@dataclass(frozen=True, slots=True)
class _Unsent:
    """A file that waits for the vendor."""

    attempt: Attempt
    data: bytes = field(repr=False)
    accept_new_topic: str | None


class Attendant:
    """Attends to one instance for its setup page. ``close`` ends its thread.

    Args:
        instance: whose page it is.
        lookout: is told to ask the vendor anew when a deed has changed something, so that no
            page shows the end of a deed beside what was before it.
        patience: for how many seconds a page waits for a deed before it says how far it is.
        retry: after how many seconds an upload is tried again that the vendor was not there for.
    """

    def __init__(
        self,
        instance: SetupInstance,
        lookout: Lookout,
        *,
        patience: float = 3.0,
        retry: float = 15.0,
    ) -> None:
        self._instance = instance
        self._lookout = lookout
        self._patience = patience
        self._retry = retry
        self._lock = threading.Lock()
        self._attempts: OrderedDict[str, Attempt] = OrderedDict()
        self._certificates: dict[str, bytes] = {}
        self._deeds: queue.Queue[Callable[[], None] | None] = queue.Queue()
        self._unsent: _Unsent | None = None
        self._thread = threading.Thread(target=self._serve, name="setup-deeds", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Finishes the deed in hand and ends the thread."""
        self._deeds.put(None)
        self._thread.join()

    def bring(self, file: str | None, data: bytes) -> str:
        """Takes a file that should be the certificate from the portal; gives the deed's number."""
        attempt = self._begin(Deed.UPLOAD, file)
        self._put(attempt, lambda: self._upload(attempt, data, None))
        return attempt.number

    def accept(self, number: str, topic: str) -> str | None:
        """Takes the certificate of a refused deed once more, with its new topic, typed.

        Returns:
            The number of the new deed; None if that certificate is not at hand any more.
        """
        with self._lock:
            before, data = self._attempts.get(number), self._certificates.get(number)
        if before is None or data is None:
            return None
        attempt = self._begin(Deed.UPLOAD, before.file)
        self._put(attempt, lambda: self._upload(attempt, data, topic))
        return attempt.number

    def again(self) -> str:
        """Does now what the vendor wants; gives the deed's number."""
        attempt = self._begin(Deed.AGAIN, None)
        self._put(attempt, lambda: self._step(attempt))
        return attempt.number

    def check(self) -> str:
        """Has the isolation checked now; gives the deed's number."""
        attempt = self._begin(Deed.CHECK, None)
        self._put(attempt, lambda: self._with_agent(attempt, self._verify))
        return attempt.number

    def attempt(self, number: str | None) -> Attempt | None:
        """The deed with this number; else one that is running, which concerns everybody."""
        with self._lock:
            if number is not None and number in self._attempts:
                return self._attempts[number]
            running = (a for a in reversed(self._attempts.values()) if a.stage in RUNNING)
            return next(running, None)

    def _begin(self, deed: Deed, file: str | None) -> Attempt:
        stage = Stage.VERIFYING if deed is Deed.CHECK else Stage.TAKING
        attempt = Attempt(
            secrets.token_urlsafe(9), deed, stage, self._instance.clock.now(), file=file
        )
        self._show(attempt)
        return attempt

    def _put(self, attempt: Attempt, deed: Callable[[], None]) -> None:
        """Queues a deed, and waits a moment: most are done before the next page is asked for."""
        done = threading.Event()

        def carried_out() -> None:
            try:
                self._carry_out(attempt, deed)
            finally:
                done.set()

        self._deeds.put(carried_out)
        done.wait(self._patience)

    def _serve(self) -> None:
        while True:
            waiting = self._unsent
            try:
                deed = self._deeds.get(timeout=None if waiting is None else self._retry)
            except queue.Empty:
                deed = None if waiting is None else self._sending(waiting)
            else:
                if deed is not None and waiting is not None:
                    self._forget(waiting.attempt)  # what a person does now takes its place
            if deed is None:
                return
            self._unsent = None
            deed()

    def _sending(self, waiting: _Unsent) -> Callable[[], None]:
        def send() -> None:
            self._upload(waiting.attempt, waiting.data, waiting.accept_new_topic)

        return lambda: self._carry_out(waiting.attempt, send)

    def _carry_out(self, attempt: Attempt, deed: Callable[[], None]) -> None:
        try:
            deed()
        except Exception as fault:  # noqa: BLE001 - the thread must live on for the next deed
            tell("setup_page_deed_failed", fault)
            with self._lock:
                shown = self._attempts.get(attempt.number, attempt)
            self._show(replace(shown, stage=Stage.FAILED))

    def _forget(self, attempt: Attempt) -> None:
        with self._lock:
            self._attempts.pop(attempt.number, None)
            self._certificates.pop(attempt.number, None)

    def _show(self, attempt: Attempt) -> None:
        with self._lock:
            self._attempts[attempt.number] = attempt
            while len(self._attempts) > KEPT:
                oldest, _ = self._attempts.popitem(last=False)
                self._certificates.pop(oldest, None)

    def _upload(self, attempt: Attempt, data: bytes, accept_new_topic: str | None) -> None:
        upload = _readable(data)
        if upload is not None:
            attempt = replace(attempt, brought=Shown.of(upload.certificate))
            attempt = attempt.noting(upload.findings)
            with self._lock:
                self._certificates[attempt.number] = _certificates_in(upload)
            self._show(attempt)
        try:
            with self._instance.agent() as agent:
                attempt, setback = _taken(agent, attempt, data, accept_new_topic)
                if setback:
                    self._end(replace(attempt, stage=Stage.HELD_UP))
                else:
                    self._verify(attempt, agent)
        except Refused as refused:
            self._show(replace(attempt, stage=Stage.REFUSED, findings=refused.findings))
        except Unavailable:
            self._keep_for_later(attempt, data, upload, accept_new_topic)

    def _keep_for_later(
        self, attempt: Attempt, data: bytes, upload: Upload | None, topic: str | None
    ) -> None:
        self._show(replace(attempt, stage=Stage.UNSENT))
        # A private key that was pasted into the file is not kept waiting with it.
        kept = data if upload is None else _certificates_in(upload)
        self._unsent = _Unsent(attempt, kept, topic)

    def _step(self, attempt: Attempt) -> None:
        def step(attempt: Attempt, agent: Agent) -> None:
            outcome = agent.step()
            if outcome.setback is not None:
                self._end(replace(attempt, stage=Stage.HELD_UP))
            elif outcome.refusals:
                self._show(replace(attempt, stage=Stage.REFUSED, findings=outcome.refusals))
            elif "activated" in outcome.codes or "activation_reported" in outcome.codes:
                self._verify(attempt, agent)
            else:
                self._end(replace(attempt, stage=Stage.DONE))

        self._with_agent(attempt, step)

    def _with_agent(self, attempt: Attempt, deed: Callable[[Attempt, Agent], None]) -> None:
        try:
            with self._instance.agent() as agent:
                deed(attempt, agent)
        except Refused as refused:
            self._show(replace(attempt, stage=Stage.REFUSED, findings=refused.findings))
        except Unavailable:
            self._show(replace(attempt, stage=Stage.DONE, unverified=True))

    def _verify(self, attempt: Attempt, agent: Agent) -> None:
        self._show(replace(attempt, stage=Stage.VERIFYING))
        try:
            agent.check_isolation()
        except Unavailable:
            # It is active, which is what the person came for; the check is owed all the same.
            attempt = replace(attempt, unverified=True)
        self._end(replace(attempt, stage=Stage.DONE))

    def _end(self, attempt: Attempt) -> None:
        self._lookout.ask()
        self._show(attempt)


def _taken(
    agent: Agent, attempt: Attempt, data: bytes, accept_new_topic: str | None
) -> tuple[Attempt, bool]:
    """Uploads the file; gives the deed with its notes, and whether it is held up.

    A line that breaks at the very end leaves a certificate in use of which the vendor has not
    been told: brought again, it is not old news, it is to be reported.
    """
    try:
        outcome = agent.upload(data, accept_new_topic)
    except Refused as refused:
        if refused.codes != ("already_active",) or not _awaits_report(agent, attempt):
            raise
        return attempt, agent.step().setback is not None
    return attempt.noting(outcome.notes), outcome.setback is not None


def _awaits_report(agent: Agent, attempt: Attempt) -> bool:
    received, brought = agent.work().received, attempt.brought
    if received is None or brought is None:
        return False
    found = read_upload(received.certificate.encode()).certificate
    return found.fingerprint == brought.fingerprint


def _readable(data: bytes) -> Upload | None:
    try:
        return read_upload(data)
    except Refused:
        return None


def _certificates_in(upload: Upload) -> bytes:
    others = (other.public_bytes(Encoding.PEM) for other in upload.others)
    return upload.certificate.pem.encode() + b"".join(others)
