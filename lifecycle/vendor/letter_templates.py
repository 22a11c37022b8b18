"""The templates of letters: the bundled ones, and a vendor's own that go before them.

A vendor's folder has the shape of ``templates/``: ``<language>/<kind>.txt.j2``,
``<language>/_portal.j2`` (bundled with ``lifecycle.language``), ``letter.html.j2``; each file in
it takes the place of the bundled one of that name. Its templates run in jinja2's sandbox.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lifecycle.language.markup import plain
from lifecycle.language.texts import shared_texts, text_environment

if TYPE_CHECKING:
    from jinja2 import BaseLoader, Environment

LAYOUT = "letter.html.j2"
"""The layout of the HTML part, for all languages."""


class TemplateBroken(Exception):
    """A template gives no letter; the message is the reason, one clause."""


def render_text(
    kind: str, values: Mapping[str, object], language: str, overrides: Path | None
) -> tuple[str, str]:
    """Subject and text of a letter, marked (see ``lifecycle.language.markup``).

    Raises:
        TemplateBroken: one of both came out empty.
        Exception: whatever a template can raise.
    """
    environment = _text_environment(language, overrides, _state(overrides, language))
    text = environment.get_template(f"{kind}.txt.j2").render(values)
    subject, _, body = text.partition("\n\n")
    if not plain(subject).strip():
        raise TemplateBroken("the first line, the subject, comes out empty")
    if not plain(body).strip():
        raise TemplateBroken("there is no text below the subject and an empty line")
    return subject, body


def render_html(values: Mapping[str, object], overrides: Path | None) -> str:
    """The HTML part of a letter.

    Raises:
        Exception: whatever a template can raise.
    """
    environment = _html_environment(overrides, _state(overrides))
    return environment.get_template(LAYOUT).render(values) + "\n"


def _state(overrides: Path | None, *folders: str) -> tuple[int, ...]:
    """Changes when a file is added to the vendor's folder, or taken away.

    jinja2 sees by itself when a file that it has loaded changes, but not that there is now
    another that goes before it. A process that runs for months must.
    """
    if overrides is None:
        return ()
    found = []
    for folder in (overrides, *(overrides / name for name in folders)):
        try:
            found.append(folder.stat().st_mtime_ns)
        except OSError:
            found.append(0)
    return tuple(found)


@lru_cache(maxsize=32)
def _text_environment(
    language: str, overrides: Path | None, _state: tuple[int, ...]
) -> Environment:
    return text_environment(_loader(language, overrides), language)


@lru_cache(maxsize=8)
def _html_environment(overrides: Path | None, _state: tuple[int, ...]) -> Environment:
    from jinja2 import StrictUndefined
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    return ImmutableSandboxedEnvironment(
        loader=_loader("", overrides),
        undefined=StrictUndefined,
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _loader(folder: str, overrides: Path | None) -> BaseLoader:
    from jinja2 import ChoiceLoader, FileSystemLoader, PackageLoader

    loaders: list[BaseLoader] = []
    if overrides is not None:
        loaders.append(FileSystemLoader(overrides / folder))
    loaders.append(PackageLoader("lifecycle.vendor", f"templates/{folder}".rstrip("/")))
    if folder:
        loaders.append(shared_texts(folder))
    return ChoiceLoader(loaders)


def template_line(fault: BaseException) -> tuple[str | None, int | None]:
    """The template, and the line in it, at which ``fault`` was raised, as far as is known."""
    from jinja2 import TemplateSyntaxError

    if isinstance(fault, TemplateSyntaxError):
        return fault.filename, fault.lineno
    found: tuple[str | None, int | None] = (None, None)
    step: Any = fault.__traceback__
    while step is not None:
        if step.tb_frame.f_code.co_filename.endswith(".j2"):
            found = step.tb_frame.f_code.co_filename, step.tb_lineno
        step = step.tb_next
    return found
