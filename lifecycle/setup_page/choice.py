"""In which language the page is shown."""

from __future__ import annotations

from lifecycle.language.languages import spoken_language

LANGUAGE_COOKIE = "pushcert-language"


def choose_language(
    asked: str | None, kept: str | None, accepted: str | None, of_letters: str | None
) -> str:
    """What the person has asked for, else what their browser wants, else what letters are in.

    Args:
        asked: in the address.
        kept: what was asked for before, from a cookie.
        accepted: the browser's ``Accept-Language``.
        of_letters: the language of messages to this customer.
    """
    for wish in (asked, kept):
        language = wanted_language(wish)
        if language is not None:
            return language
    for wish in _accepted(accepted or ""):
        language = spoken_language(wish)
        if language is not None:
            return language
    return wanted_language(of_letters) or "en"


def wanted_language(wish: str | None) -> str | None:
    """The language that ``wish`` names, or None where we do not speak it."""
    return None if wish is None else spoken_language(wish)


def _accepted(header: str) -> list[str]:
    """The languages of an ``Accept-Language`` header, the most wanted first (RFC 9110, 12.5.4)."""
    found: list[tuple[float, str]] = []
    for part in header[:500].split(","):
        tag, *parameters = (piece.strip() for piece in part.split(";"))
        weight = 1.0
        for parameter in parameters:
            name, _, value = parameter.partition("=")
            if name.strip().lower() == "q":
                try:
                    weight = float(value)
                except ValueError:
                    weight = 0.0
        if tag and tag != "*" and 0 < weight <= 1:
            found.append((weight, tag))
    return [tag for _, tag in sorted(found, key=lambda one: -one[0])]
