"""The languages in which pushcert speaks to customers."""

from __future__ import annotations

LANGUAGES = ("en", "de", "fr", "es", "ja")
"""The languages of letters and of the setup page."""
WITHOUT_SPACES = frozenset({"ja"})
"""Those of them that put no spaces between words."""


def known_language(language: str) -> str:
    """The language of the templates that serve for ``language`` (``de-AT``: ``de``)."""
    return spoken_language(language) or "en"


def spoken_language(language: str) -> str | None:
    """As ``known_language``; None where there are no templates for it."""
    base = language.replace("_", "-").partition("-")[0].lower()
    return base if base in LANGUAGES else None
