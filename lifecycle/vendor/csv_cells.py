"""Cells of CSV files that people open with a spreadsheet."""

from __future__ import annotations

import re

_FORMULA = re.compile(r"'*[=+\-@\t]")
"""OWASP, "CSV Injection": these first characters make a formula, in text, not in numbers."""


def harmless(value: object) -> object:
    """A cell that no spreadsheet takes for a formula; what is no text stays."""
    if not isinstance(value, str):
        return value
    text = value.replace("\r", " ")  # the csv module leaves a lone one unquoted: a new line
    return f"'{text}" if _FORMULA.match(text) else text


def as_it_was(text: str) -> str:
    """What ``harmless`` was given, so that a file we wrote can be read again."""
    return text[1:] if text.startswith("'") and _FORMULA.match(text) else text
