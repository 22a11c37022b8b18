"""What a deploy target is."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Protocol

from lifecycle.errors import InternalFault
from lifecycle.instance.deploy.plan import About
from lifecycle.passphrase import PassphraseSource, resolve
from lifecycle.pki.pair import Pair


class Target(Protocol):
    """Where the active pair is brought.

    Both methods may be repeated at any time, also after a crash in the middle of one. They raise
    ``Refused`` where a person must act and ``Unavailable`` where it may go by itself; neither may
    carry the key, a passphrase or an API key. A caller must not assume that one which raised has
    changed nothing.
    """

    @property
    def about(self) -> About:
        """What is known of it without touching it."""
        ...

    def deploy(self, pair: Pair) -> None:
        """Brings the pair there, and returns only once ``verify`` is satisfied."""
        ...

    def verify(self, pair: Pair) -> None:
        """Checks that the target has this very certificate, without changing anything."""
        ...


def settings_digest(*parts: object) -> str:
    """A digest of a target's settings. They name sources of secrets, and hold none."""
    return hashlib.sha256(repr(parts).encode()).hexdigest()


def secret_of(source: PassphraseSource) -> Callable[[], bytes]:
    """Gives the secret anew each time it is called; what it raises is ``resolve``'s."""

    def give() -> bytes:
        found = resolve(source)
        if found is None:
            raise InternalFault("A secret without a source was asked for.")
        return found

    return give
