"""What the shell offers after Tab: slugs, tags, statuses and other words that there are.

A completion disturbs nobody: where nothing can be known (no configuration yet, a database that
is down) it offers nothing and says nothing, and it makes no file.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

import typer

from lifecycle.errors import PushcertError

if TYPE_CHECKING:
    from sqlmodel import Session

    from lifecycle.config import Config

OFFERED = 200
"""Of customers at most so many: a shell asks whether it is to show more."""

Offer = Callable[[typer.Context, str], list[tuple[str, str]]]
"""What typer calls: the context and what has been typed so far; gives words, each with help."""


def words(*some: str) -> Offer:
    """Offers fixed words."""

    def offer(ctx: typer.Context, incomplete: str) -> list[tuple[str, str]]:  # noqa: ARG001
        return _fitting(((word, "") for word in some), incomplete)

    return offer


def statuses(ctx: typer.Context, incomplete: str) -> list[tuple[str, str]]:  # noqa: ARG001
    """Offers the statuses of a customer."""
    from lifecycle.vendor.facts import Status

    return _fitting(((str(status), "") for status in Status), incomplete)


def reasons(ctx: typer.Context, incomplete: str) -> list[tuple[str, str]]:  # noqa: ARG001
    """Offers the reasons of a renewal."""
    from lifecycle.vendor.facts import RenewalReason

    return _fitting(((str(reason), "") for reason in RenewalReason), incomplete)


def languages(ctx: typer.Context, incomplete: str) -> list[tuple[str, str]]:  # noqa: ARG001
    """Offers the languages of messages."""
    from lifecycle.language.languages import LANGUAGES

    return _fitting(((language, "") for language in LANGUAGES), incomplete)


def slugs(ctx: typer.Context, incomplete: str) -> list[tuple[str, str]]:
    """Offers the customers in care, with their names; none that the line has already."""
    from sqlmodel import col, select

    from lifecycle.vendor.models import Customer

    given = list(ctx.params.get("slugs") or ())
    in_care = (
        select(Customer.slug, Customer.name)
        .where(
            col(Customer.offboarded_at).is_(None),
            col(Customer.slug).startswith(incomplete, autoescape=True),
            col(Customer.slug).not_in(given),
        )
        .order_by(col(Customer.slug))
        .limit(OFFERED)
    )
    return _ask(ctx, lambda session: [(s, _harmless(name)) for s, name in session.exec(in_care)])


def tags(ctx: typer.Context, incomplete: str) -> list[tuple[str, str]]:
    """Offers the tags that customers have."""
    from sqlmodel import col, select

    from lifecycle.vendor.models import CustomerTag

    worn = select(CustomerTag.tag).distinct().order_by(col(CustomerTag.tag))
    found = _ask(ctx, lambda session: [(tag, "") for tag in session.exec(worn)])
    return _fitting(found, incomplete)


def channels(ctx: typer.Context, incomplete: str) -> list[tuple[str, str]]:
    """Offers the channels that are configured."""
    config = _config(ctx)
    if config is None:
        return []
    return _fitting(((name, "") for name in ("mail", *config.notify)), incomplete)


def runs(ctx: typer.Context, incomplete: str) -> list[tuple[str, str]]:
    """Offers the newest isolation runs."""
    from lifecycle.vendor import sweeps

    def newest(session: Session) -> list[tuple[str, str]]:
        return [(run.id, f"{run.started_at:%Y-%m-%d %H:%M}") for run in sweeps.newest(session, 50)]

    return _fitting(_ask(ctx, newest), incomplete)


def _fitting(some: Iterable[tuple[str, str]], incomplete: str) -> list[tuple[str, str]]:
    return [(word, said) for word, said in some if word.startswith(incomplete)]


def _harmless(name: str) -> str:
    """A name that somebody else chose: zsh runs what it is offered through ``eval``."""
    return "".join(c if c.isalnum() or c in " -.,&()/@" else " " for c in name)


def _config(ctx: typer.Context) -> Config | None:
    import os

    from lifecycle.config import CONFIG_VARIABLE, find_config, load_config

    try:
        option = ctx.find_root().params.get("config")
        return load_config(find_config(option, os.environ.get(CONFIG_VARIABLE)))
    except PushcertError:
        return None


def _ask(
    ctx: typer.Context, question: Callable[[Session], list[tuple[str, str]]]
) -> list[tuple[str, str]]:
    """What the registry answers; nothing where there is none, or none of this version."""
    from lifecycle.vendor.database import Database
    from lifecycle.vendor.migrations import require_current

    config = _config(ctx)
    if config is None:
        return []
    database = Database(config.database_url)
    try:
        require_current(database.engine)
        with database.reading() as session:
            return question(session)
    except PushcertError:
        return []
    finally:
        database.close()
