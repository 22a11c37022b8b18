"""Topic: the name under which a customer's devices listen for pushes."""

from __future__ import annotations

import re
from typing import Self

from lifecycle.errors import refuse

TOPIC_PREFIX = "com.apple.mgmt."
_TOPIC = re.compile(r"com\.apple\.mgmt\.[A-Za-z0-9][A-Za-z0-9._-]{0,199}")


class Topic(str):
    """An MDM push topic, e.g. ``com.apple.mgmt.External.<uuid>``; checked when it is made.

    Compared letter by letter: APNs does so too. Older customers have other forms, such as
    ``com.apple.mgmt.XServer.…``; all begin with ``com.apple.mgmt.``.

    Raises:
        Refused: ``topic_not_mdm``, the text is not an MDM topic.
    """

    __slots__ = ()

    def __new__(cls, text: str) -> Self:
        """Checks ``text``; nothing is stripped or changed."""
        if _TOPIC.fullmatch(text) is None:
            raise refuse(
                "topic_not_mdm",
                f"“{text[:80]}” is not an MDM push topic; those begin with {TOPIC_PREFIX}",
                "Use the certificate that identity.apple.com/pushcert issued for MDM, "
                "not one for an app.",
            )
        return super().__new__(cls, text)

    @classmethod
    def parse(cls, text: str) -> Self:
        """A topic as a person typed or pasted it; white space around it is dropped.

        Raises:
            Refused: ``topic_not_mdm``.
        """
        return cls(text.strip())

    def __repr__(self) -> str:
        return f"Topic({str(self)!r})"
