"""Whether everybody can be reached whom renewals need: APNs, the mail server, chat channels."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from lifecycle.apns.gateway import Gateway
from lifecycle.apns.reach import require_reachable
from lifecycle.config import Config
from lifecycle.correspondence import configured_chats, configured_mail
from lifecycle.diagnosis import Diagnosis, of_fault
from lifecycle.errors import PushcertError


def diagnose_reach(config: Config, gateway: Gateway) -> Iterator[Diagnosis]:
    """Looks at each by the way that it is used, and sends nothing."""
    yield _tried(
        "APNs", f"{gateway.host}:{gateway.port} answers", lambda: require_reachable(gateway)
    )
    mail = configured_mail(config)
    if mail is not None:
        where = f"{mail.host}:{mail.port}"
        said = f"{where} lets us in ({mail.security}{', with a login' if mail.username else ''})"
        yield _tried("mail server", said, mail.check)
    for name, chat in configured_chats(config).items():
        # Whether the service takes it shows a message only: `notify test` sends one.
        yield _tried(f"channel {name}", "its URL is one that apprise knows", chat.check)


def _tried(what: str, said: str, attempt: Callable[[], None]) -> Diagnosis:
    try:
        attempt()
    except PushcertError as fault:
        return of_fault(what, fault, "See what it says, and mend the address in config.toml.")
    return Diagnosis(what, True, said)
