"""Vendor ops' chat channels: Slack, Teams, webhooks, whatever apprise has a URL for."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from lifecycle.errors import Unavailable, refuse

if TYPE_CHECKING:
    import apprise


@dataclass(frozen=True, slots=True)
class AppriseChat:
    """A ``ChatTransport`` to one apprise URL (github.com/caronc/apprise/wiki).

    Attributes:
        name: as config.toml calls the channel.
        url: fetches the URL when it is needed. It holds the channel's secret, so it is kept
            nowhere and said nowhere.
    """

    name: str
    url: Callable[[], str] = field(repr=False)

    def send(self, subject: str, body: str) -> None:
        """Sends one message.

        Raises:
            Unavailable: the service cannot be reached, or does not take it; apprise does not
                say which.
            Refused: as ``check``.
        """
        if not self._service().notify(title=subject, body=body):
            raise Unavailable(
                f"The channel '{self.name}' did not take the message.",
                "Check that its URL is right and that this machine can reach the service.",
            )

    def check(self) -> None:
        """Sees whether there is a URL that can be used; sends nothing.

        Raises:
            Refused: ``channel_url_unusable``, ``channel_support_missing``, or the URL is not
                to be had.
        """
        self._service()

    def _service(self) -> apprise.Apprise:
        try:
            import apprise
        except ImportError:
            raise refuse(
                "channel_support_missing",
                f"The channel '{self.name}' needs apprise, which is not installed.",
                "Run `pip install 'pushcert[chat]'`.",
            ) from None
        # What apprise logs of a failure quotes the URL; the caller learns what it may.
        logging.getLogger("apprise").setLevel(logging.CRITICAL + 1)
        service = apprise.Apprise()
        if not service.add(self.url()):
            raise refuse(
                "channel_url_unusable",
                f"What notify.{self.name}.url leads to is no URL that apprise knows.",
                "See github.com/caronc/apprise/wiki for how the URL of your service is written.",
            )
        return service
