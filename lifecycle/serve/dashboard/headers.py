"""What every answer of the dashboard tells the browser about itself."""

from __future__ import annotations

from fastapi import Response

POLICY = "; ".join(
    (
        "default-src 'none'",
        "style-src 'self'",
        "script-src 'self'",
        "img-src 'self'",
        "form-action 'self'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
    )
)
"""Nothing inline and nothing from elsewhere; a page of ours is shown in no frame."""
ONE_YEAR = 31_536_000


def secure(response: Response, *, encrypted: bool) -> None:
    """Adds the headers; an answer that says how long it may be kept goes on saying so."""
    headers = response.headers
    headers["Content-Security-Policy"] = POLICY
    headers["X-Content-Type-Options"] = "nosniff"
    headers["X-Frame-Options"] = "DENY"  # for what does not know frame-ancestors
    headers["Referrer-Policy"] = "same-origin"
    headers["Cross-Origin-Opener-Policy"] = "same-origin"
    headers["Cross-Origin-Resource-Policy"] = "same-origin"
    headers["Permissions-Policy"] = "camera=(), geolocation=(), microphone=(), payment=(), usb=()"
    headers.setdefault("Cache-Control", "no-store")
    if encrypted:
        headers["Strict-Transport-Security"] = f"max-age={ONE_YEAR}"
