"""Apple's portal: its address, and what the request is called that is taken there."""

from __future__ import annotations

from lifecycle.pki.push_certificate import PORTAL

__all__ = ["PORTAL", "request_filename"]


def request_filename(slug: str) -> str:
    """What the request is called when it travels as a file.

    Of the endings that the portal's page has let pass over the years (``.csr .txt .rtf``,
    later ``.txt .rtf .plist .b64``; github.com/micromdm/micromdm/pull/833) only ``.txt`` was
    always among them.
    """
    return f"{slug}-push-certificate-request.txt"
