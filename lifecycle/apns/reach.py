"""Whether APNs can be reached, without a push and without anybody's certificate."""

from __future__ import annotations

import asyncio
import ssl
from typing import cast

import certifi

from lifecycle.apns.dial import dial
from lifecycle.apns.faults import ProxyRefused
from lifecycle.apns.gateway import Gateway
from lifecycle.apns.pace import Unpaced
from lifecycle.errors import Unavailable

WAITS_SECONDS = 10.0


def require_reachable(gateway: Gateway) -> None:
    """Connects the way a push does, through the proxy if there is one, up to TLS.

    Raises:
        Unavailable: nobody answers, the proxy refuses, or it is not APNs that answers.
        Refused: ``apns_ca_unreadable``.
    """
    gateway.tls.require()  # says what is wrong with a ca_file
    where = f"{gateway.host}:{gateway.port}"
    try:
        asyncio.run(asyncio.wait_for(_handshake(gateway), WAITS_SECONDS))
    except ProxyRefused as refused:
        raise Unavailable(
            f"the proxy does not let us through to {where} ({refused}).",
            "Allow it there, or mend apns.proxy in config.toml.",
        ) from None
    except ssl.SSLCertVerificationError as error:
        raise Unavailable(
            f"who answers at {where} cannot show that it is APNs ({error.verify_message}).",
            "Exempt APNs from TLS inspection: pushes are refused by it. Where the roots are your"
            " own, name them in apns.ca_file.",
        ) from None
    except ssl.SSLError:
        return  # it speaks TLS, and wants a certificate that we do not show here
    except (OSError, EOFError) as error:
        said = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise Unavailable(
            f"{where} cannot be reached ({said}).",
            "Open the firewall for outbound connections, or mend apns.host, port and proxy in"
            " config.toml.",
        ) from None


class _Line(asyncio.Protocol):
    """A connection before TLS."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keeps it."""
        self.transport = cast("asyncio.Transport", transport)


async def _handshake(gateway: Gateway) -> None:
    line = _Line()
    await dial(gateway, line, Unpaced())
    try:
        secured = await asyncio.get_running_loop().start_tls(
            line.transport, line, _context(gateway), server_hostname=gateway.host
        )
    finally:
        line.transport.abort()
    if secured is not None:
        secured.abort()


def _context(gateway: Gateway) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=gateway.ca_file or certifi.where())
    context.set_alpn_protocols(["h2"])
    return context
