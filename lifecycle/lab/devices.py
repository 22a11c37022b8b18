"""The devices that the lab's APNs knows, by the topics they registered under."""

from __future__ import annotations

import random
import threading
from datetime import datetime

TOKEN_BYTES = 32


class DeviceRegistry:
    """Which token is registered under which topics; safe to use from any thread.

    APNs binds a token to one topic. The lab lets a token be put under two, because that is
    the fault which isolation checks are there to find.

    Args:
        rng: makes tokens.
    """

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._lock = threading.Lock()
        self._topics: dict[bytes, set[str]] = {}
        self._gone: dict[tuple[bytes, str], datetime] = {}

    def new(self, topic: str) -> bytes:
        """Registers a new device and gives its token."""
        with self._lock:
            token = self._rng.randbytes(TOKEN_BYTES)
            self._topics[token] = {topic}
            return token

    def register(self, token: bytes, topic: str) -> None:
        """Puts a token under a topic, beside any other."""
        with self._lock:
            self._topics.setdefault(token, set()).add(topic)
            self._gone.pop((token, topic), None)

    def deregister(self, token: bytes, topic: str) -> None:
        """Takes a token from under a topic, as if it had never been there."""
        with self._lock:
            self._topics.get(token, set()).discard(topic)

    def unregister(self, token: bytes, at: datetime) -> None:
        """The device removes its profile: pushes are answered 410 from now on."""
        with self._lock:
            for topic in self._topics.get(token, set()):
                self._gone[token, topic] = at

    def topics_of(self, token: bytes) -> frozenset[str]:
        """The topics that the token is or was registered under."""
        with self._lock:
            return frozenset(self._topics.get(token, frozenset()))

    def gone_since(self, token: bytes, topic: str) -> datetime | None:
        """Since when the token is unregistered under the topic; None while it is not."""
        with self._lock:
            return self._gone.get((token, topic))

    def all(self) -> list[tuple[bytes, str, datetime | None]]:
        """Every registration, with when it ended."""
        with self._lock:
            return [
                (token, topic, self._gone.get((token, topic)))
                for token, topics in self._topics.items()
                for topic in sorted(topics)
            ]
