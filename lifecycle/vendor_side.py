"""The vendor's plane put together from the configuration: enough for whatever needs no instance.

Reports, the registry, the audit log, sweeps. Light to load, because people wait for these.
"""

from __future__ import annotations

from types import TracebackType
from typing import TYPE_CHECKING, Self

from lifecycle.boundary import Unobserved, WriteObserver
from lifecycle.clock import Clock
from lifecycle.config import Config
from lifecycle.policy import configured_policy
from lifecycle.secret import secret_source
from lifecycle.vendor.database import Database
from lifecycle.vendor.notices import Notices

if TYPE_CHECKING:
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
        notices: writes what people are to be told.
    """

    def __init__(
        self, config: Config, clock: Clock, *, observer: WriteObserver | None = None
    ) -> None:
        self.config = config
        self.clock = clock
        self.observer: WriteObserver = observer or Unobserved()
        self.policy = configured_policy(config)
        self.database = Database(config.database_url, self.observer)
        self.notices = Notices(config.vendor.name, config.vendor.ops, config.vendor.upload_at)

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
        from lifecycle.vendor.outbox import DeliverySummary, deliver_due

        smtp = self.config.smtp
        if smtp.host is None:
            return DeliverySummary()
        from lifecycle.passphrase import resolve
        from lifecycle.vendor.mail import SmtpTransport

        password = secret_source(self.config, smtp.password)
        transport = SmtpTransport(
            host=smtp.host,
            port=smtp.port,
            security=smtp.security,
            username=smtp.username,
            password=lambda: (resolve(password) or b"").decode(),
            ca_file=None if smtp.ca_file is None else self.config.path(smtp.ca_file),
            timeout=smtp.timeout_seconds,
        )
        return deliver_due(
            self.database.transaction,
            transport,
            self.clock.now(),
            sender=smtp.sender,
            vendor=self.config.vendor.name,
            observer=self.observer,
        )
