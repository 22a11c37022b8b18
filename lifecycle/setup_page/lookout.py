"""Asks the vendor for the page, in a thread of its own, so that no page waits for a network.

A page waits for an answer for a moment and is then shown with the last one.
"""

from __future__ import annotations

import threading
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import replace

from lifecycle.errors import Finding, Refused, Unavailable
from lifecycle.pki.fingerprints import fingerprint
from lifecycle.setup_page.facts import Contact, obstacle
from lifecycle.setup_page.instance import SetupInstance
from lifecycle.setup_page.log import tell
from lifecycle.wire.messages import Work


class Lookout:
    """Knows how the vendor stands to one instance.

    Looking also does what is wanted when a renewal has begun: the instance makes its CSR, so
    that whoever opens the page first is not told to wait for an agent.

    Args:
        instance: whose page it is.
        patience: for how many seconds a page waits for an answer before it is shown without.
    """

    def __init__(self, instance: SetupInstance, *, patience: float = 3.0) -> None:
        self._instance = instance
        self._patience = patience
        self._lock = threading.Lock()
        self._contact = Contact()
        self._asked = 0
        self._noted = 0
        self._next_look: Future[None] | None = None
        self._looks = ThreadPoolExecutor(max_workers=1, thread_name_prefix="setup-look")
        self._downloaded: str | None = None

    def close(self) -> None:
        """Ends its thread; a question that is under way is not waited for."""
        self._looks.shutdown(wait=False, cancel_futures=True)

    def look(self) -> Contact:
        """Asks the vendor, and gives what is known after a moment."""
        with self._lock:
            # One that has begun may have been answered before what this page is about.
            if self._next_look is None:
                self._next_look = self._looks.submit(self.ask)
            asked = self._next_look
        wait([asked], timeout=self._patience)
        with self._lock:
            return self._contact

    @property
    def language(self) -> str | None:
        """The language of the vendor's messages to this customer, as last heard."""
        with self._lock:
            work = self._contact.work
        return None if work is None or work.standing is None else work.standing.language

    def ask(self) -> None:
        """Asks the vendor and waits for the answer, however long that takes."""
        with self._lock:
            self._next_look = None
            self._asked += 1
            turn = self._asked
        try:
            with self._instance.agent() as agent:
                work = agent.work()
                if _wants_csr(work):
                    agent.step()
                    work = agent.work()
        except Unavailable:
            self._note(turn, silent=True)
        except Refused as refused:
            self._note(turn, refused=refused.findings)
        except Exception as fault:  # noqa: BLE001 - the page goes on with what it knows
            tell("setup_page_look_failed", fault)
            self._note(turn, silent=True)
        else:
            self._note(turn, work=work)

    def _note(
        self,
        turn: int,
        *,
        work: Work | None = None,
        silent: bool = False,
        refused: tuple[Finding, ...] = (),
    ) -> None:
        now = self._instance.clock.now()
        with self._lock:
            if turn < self._noted:
                return  # who asked later has been answered already
            self._noted = turn
            if work is not None:
                self._contact = Contact(work, now)
            elif silent:
                since = self._contact.silent_since or now
                self._contact = replace(self._contact, silent_since=since)
            else:
                self._contact = replace(self._contact, silent_since=None, refused=refused)

    def request(self) -> bytes | None:
        """The request that waits to be taken to the portal, and notes that it was fetched."""
        contact = self.look()
        if contact.work is None or contact.work.request is None:
            return None
        data = contact.work.request.request.encode()
        with self._lock:
            self._downloaded = fingerprint(data)
        return data

    def has_been_downloaded(self, work: Work | None) -> bool:
        """True if the request in ``work`` has been fetched from this page."""
        if work is None or work.request is None:
            return False
        with self._lock:
            return self._downloaded == fingerprint(work.request.request.encode())


def _wants_csr(work: Work) -> bool:
    """Whether the instance is to make a CSR. One that was refused is not tried at every look."""
    return work.csr is not None and obstacle(work.standing) is None
