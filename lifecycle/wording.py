"""Small words that every edge needs: numbers with their noun."""

from __future__ import annotations


def counted(number: int, one: str, many: str | None = None) -> str:
    """``1 message``, ``2 messages``, ``4,541 customers``; ``many`` where an *s* is not enough."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"
