"""jinja2 for texts in the light markup: sandboxed, strict, and nothing put in is markup.

The templates that letters and the setup page share are in ``templates/<language>/``.
"""

from __future__ import annotations

from datetime import date, datetime
from typing import TYPE_CHECKING

from lifecycle.language.dates import written_day, written_minute
from lifecycle.language.markup import linked, protect

if TYPE_CHECKING:
    from jinja2 import BaseLoader
    from jinja2.sandbox import SandboxedEnvironment


def text_environment(loader: BaseLoader, language: str) -> SandboxedEnvironment:
    """An environment for texts in one language.

    Args:
        loader: where its templates are.
        language: one of ``LANGUAGES``; how the filters ``day`` and ``minute`` write a time.
    """
    from jinja2 import StrictUndefined, pass_context
    from jinja2.sandbox import ImmutableSandboxedEnvironment
    from markupsafe import Markup

    # jinja2's escaping, with ours in the place of HTML's: whatever an expression gives is
    # protected, unless it is made of template text (a macro's result). It takes the context
    # so that jinja2 does not fold constants, for which it would use HTML's escaping.
    @pass_context
    def escape(_context: object, value: object) -> object:
        if isinstance(value, Markup | int):
            return value
        if value is None:
            raise TypeError("a value that is not there (None) would be printed")
        return Markup(protect(str(value)))  # noqa: S704 - protected is what safe means here

    environment = ImmutableSandboxedEnvironment(
        loader=loader,
        undefined=StrictUndefined,
        autoescape=True,
        finalize=escape,
        trim_blocks=True,
        lstrip_blocks=True,
    )

    def day(value: date) -> str:
        return written_day(value, language)

    def minute(value: datetime) -> str:
        return written_minute(value, language)

    def link(value: str) -> Markup:
        return Markup(linked(value))  # noqa: S704 - as above

    environment.filters.update({"day": day, "minute": minute, "link": link})
    return environment


def shared_texts(language: str) -> BaseLoader:
    """The templates that letters and the setup page share, in one language."""
    from jinja2 import PackageLoader

    return PackageLoader("lifecycle.language", f"templates/{language}")
