"""The page's words in one language, from templates in the letters' light markup.

``words/<language>/page.j2`` and ``findings.j2`` are macros, one for each thing that can be said;
the steps at the portal come from ``lifecycle.language``, where the letters have them from too.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import TYPE_CHECKING

from lifecycle.language.languages import WITHOUT_SPACES
from lifecycle.language.markup import Block, Facts, Span, join_lines, parse, plain, spans
from lifecycle.language.texts import shared_texts, text_environment

if TYPE_CHECKING:
    from jinja2.environment import TemplateModule
    from jinja2.sandbox import SandboxedEnvironment

PAGE, FINDINGS, PORTAL_STEPS = "page.j2", "findings.j2", "_portal.j2"


class Words:
    """What is said about one situation.

    Args:
        language: one of ``LANGUAGES``.
        values: what the templates speak of.
    """

    def __init__(self, language: str, values: Mapping[str, object]) -> None:
        self._spaced = language not in WITHOUT_SPACES
        environment = _environment(language)
        self._modules: dict[str, TemplateModule] = {
            name: environment.get_template(name).make_module(dict(values))
            for name in (PAGE, FINDINGS, PORTAL_STEPS)
        }

    def has(self, key: str, source: str = PAGE) -> bool:
        """Whether there are words for ``key``."""
        return hasattr(self._modules[source], key)

    def line(self, key: str, source: str = PAGE, **given: object) -> tuple[Span, ...]:
        """The words for ``key`` as one line; empty if they say nothing just now.

        Raises:
            KeyError: there are no words for it.
        """
        return spans(self._joined(key, source, given))

    def text(self, key: str, source: str = PAGE, **given: object) -> str:
        """The same without emphasis and links, for where HTML has no room for them."""
        return plain(self._joined(key, source, given))

    def rows(self, key: str, **given: object) -> tuple[tuple[str, tuple[Span, ...]], ...]:
        """Labels and values of a block of facts that the steps at the portal have."""
        said = self._said(key, PORTAL_STEPS, given)
        blocks: tuple[Block, ...] = parse(said, spaced=self._spaced)
        return tuple(
            (plain(label), spans(value))
            for block in blocks
            if isinstance(block, Facts)
            for label, value in block.rows
        )

    def _joined(self, key: str, source: str, given: Mapping[str, object]) -> str:
        return join_lines(self._said(key, source, given).strip(), spaced=self._spaced)

    def _said(self, key: str, source: str, given: Mapping[str, object]) -> str:
        macro = getattr(self._modules[source], key, None)
        if macro is None:
            raise KeyError(f"{source} has no words for {key}")
        return str(macro(**given))


@cache
def _environment(language: str) -> SandboxedEnvironment:
    from jinja2 import ChoiceLoader, PackageLoader

    own = PackageLoader("lifecycle.setup_page", f"words/{language}")
    return text_environment(ChoiceLoader([own, shared_texts(language)]), language)
