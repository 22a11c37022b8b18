"""Who is at the other end of a request: their address, and whether the way there is encrypted."""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

from fastapi import Request

from lifecycle.config import ServeSection

NOWHERE = "unknown"


def address_of(request: Request, section: ServeSection) -> str:
    """The client's address; what proxies say counts from those that are trusted alone.

    Read from the right: a client can put what it likes to the left of what a proxy adds.
    """
    peer = NOWHERE if request.client is None else request.client.host
    said = [
        hop.strip()
        for header in request.headers.getlist("x-forwarded-for")
        for hop in header.split(",")
    ]
    address = peer
    while said and is_trusted(address, section.trusted_proxies):
        address = said.pop() or address
    return address


def is_encrypted(request: Request, section: ServeSection) -> bool:
    """Whether the browser speaks TLS: to us, or to the proxy before us."""
    if request.url.scheme == "https" or section.certificate is not None:
        return True
    if section.public_url is not None and section.public_url.startswith("https://"):
        return True
    peer = NOWHERE if request.client is None else request.client.host
    forwarded = request.headers.get("x-forwarded-proto", "").strip().lower()
    return forwarded == "https" and is_trusted(peer, section.trusted_proxies)


def is_loopback(address: str) -> bool:
    """Whether it is this machine itself."""
    found = _parsed(address)
    return found is not None and found.is_loopback


def is_trusted(address: str, proxies: Iterable[str]) -> bool:
    """Whether the address is one of these, or in one of these networks (``10.0.0.0/8``)."""
    found = _parsed(address)
    if found is None:
        return False
    for proxy in proxies:
        try:
            if found in ip_network(proxy, strict=False):
                return True
        except ValueError:
            continue  # a name: uvicorn takes those, for peers without an address
    return False


def _parsed(address: str) -> IPv4Address | IPv6Address | None:
    try:
        found = ip_address(address)
    except ValueError:
        return None
    mapped = found.ipv4_mapped if isinstance(found, IPv6Address) else None
    return mapped or found
