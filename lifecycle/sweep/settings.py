"""What the processes of a sweep agree on. Light to load: it is loaded on both sides."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from lifecycle.apns.pace import Ceiling
from lifecycle.apns.retry import RetryPolicy
from lifecycle.clock import Clock
from lifecycle.instance.vaults import Vaults


@dataclass(frozen=True, slots=True)
class Settings:
    """What a worker is told.

    Attributes:
        vaults: where the instances are.
        host, port, ca_file, proxy: of APNs.
        retry: how often one push is tried.
        ceiling: of new connections.
        clock: dates the answers.
    """

    vaults: Vaults
    host: str
    port: int
    ca_file: Path | None
    proxy: str | None
    retry: RetryPolicy
    ceiling: Ceiling
    clock: Clock
