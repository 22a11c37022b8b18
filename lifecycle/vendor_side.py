"""The vendor's plane put together from the configuration: enough for whatever needs no instance.

Reports, the registry, the audit log, sweeps. Light to load, because people wait for these.
"""

from __future__ import annotations

from datetime import time
from functools import cached_property
from types import TracebackType
from typing import TYPE_CHECKING, Self

from lifecycle.boundary import Unobserved, Watch, WriteObserver, ignore
from lifecycle.clock import Clock
from lifecycle.config import Config
from lifecycle.policy import configured_policy
from lifecycle.registry_database import configured_database

if TYPE_CHECKING:
    from lifecycle.vendor.digest import DigestSchedule
    from lifecycle.vendor.dry_run import Upcoming
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

    def send_mail(self, watch: Watch = ignore) -> DeliverySummary:
        """Sends what waits in the outbox; without a mail server it goes on waiting.

        One process of a deployment sends at a time: a message that two find in the outbox at
        once would go out twice.
        """
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
                reply_to=self.config.smtp.reply_to,
                chats=chats,
                quiet=configured_quiet_hours(self.config),
                observer=self.observer,
                watch=watch,
            )

    def write_digest(self) -> None:
        """Writes the day's digest into the outbox, once its hour has come."""
        schedule = self.digest_schedule
        if schedule is not None:
            from lifecycle.vendor.digest import write_digest

            write_digest(self.database, self.policy, self.notices, schedule, self.clock.now())

    def preview(self) -> list[Upcoming]:
        """What ``remind`` would send now. Writes nothing."""
        from lifecycle.correspondence import configured_quiet_hours
        from lifecycle.vendor.dry_run import preview

        return preview(
            self.database,
            self.policy,
            self.notices,
            self.clock.now(),
            quiet=configured_quiet_hours(self.config),
            digest=self.digest_schedule,
        )

    @property
    def digest_schedule(self) -> DigestSchedule | None:
        """When the day's digest is due; None where there is none."""
        if not self.config.digest.enabled:
            return None
        from zoneinfo import ZoneInfo

        from lifecycle.vendor.digest import DigestSchedule

        at = time.fromisoformat(self.config.digest.at)
        return DigestSchedule(at, ZoneInfo(self.config.vendor.time_zone))
