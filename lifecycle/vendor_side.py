"""The vendor's plane put together from the configuration: enough for whatever needs no instance.

Reports, the registry, the audit log, sweeps. Light to load, because people wait for these.
"""

from __future__ import annotations

from datetime import time
from functools import cached_property
from types import TracebackType
from typing import TYPE_CHECKING, Self

from lifecycle.boundary import Unobserved, WriteObserver
from lifecycle.clock import Clock
from lifecycle.config import Config
from lifecycle.policy import configured_policy
from lifecycle.registry_database import configured_database

if TYPE_CHECKING:
    from lifecycle.vendor.notices import Notices
    from lifecycle.vendor.outbox import DeliverySummary


class VendorSide:
    """Use it as a context manager; its end closes the database.

    Args:
        config: the configuration.
        clock: the host's, or the lab's.
        observer: told around every durable write.

    Attributes:
        database: the vendor's.
        policy: what the planner decides by.
    """

    def __init__(
        self, config: Config, clock: Clock, *, observer: WriteObserver | None = None
    ) -> None:
        self.config = config
        self.clock = clock
        self.observer: WriteObserver = observer or Unobserved()
        self.policy = configured_policy(config)
        self.database = configured_database(config, self.observer)

    @cached_property
    def notices(self) -> Notices:
        """Writes what people are to be told."""
        from lifecycle.correspondence import configured_letterhead
        from lifecycle.vendor.notices import Notices

        return Notices(configured_letterhead(self.config))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Closes the database."""
        self.database.close()

    def send_mail(self) -> DeliverySummary:
        """Sends what waits in the outbox; without a mail server it goes on waiting."""
        from lifecycle.correspondence import (
            configured_chats,
            configured_mail,
            configured_quiet_hours,
        )
        from lifecycle.turns import one_sender
        from lifecycle.vendor.outbox import DeliverySummary, deliver_due

        transport, chats = configured_mail(self.config), configured_chats(self.config)
        if transport is None and not chats:
            return DeliverySummary()
        with one_sender(self.config) as mine:
            if not mine:
                return DeliverySummary(stopped="Another pushcert is sending.")
            return deliver_due(
                self.database,
                transport,
                self.clock.now(),
                sender=self.config.smtp.sender,
                vendor=self.config.vendor.name,
                chats=chats,
                quiet=configured_quiet_hours(self.config),
                observer=self.observer,
            )

    def write_digest(self) -> None:
        """Writes the day's digest into the outbox, once its hour has come."""
        if not self.config.digest.enabled:
            return
        from zoneinfo import ZoneInfo

        from lifecycle.vendor.digest import DigestSchedule, write_digest

        schedule = DigestSchedule(
            time.fromisoformat(self.config.digest.at), ZoneInfo(self.config.vendor.time_zone)
        )
        write_digest(self.database, self.policy, self.notices, schedule, self.clock.now())
