"""What every table of the configuration is."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field


class Section(BaseModel):
    """A table of the file: immutable, closed to unknown keys."""

    # Built when first used: a command needs few of them, and each takes its time to make.
    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)


Secret = Annotated[str | None, Field(pattern=r"^(env|file|command):.+$")]
"""Where a secret comes from: ``env:NAME``, ``file:PATH`` or ``command:PROGRAM ARGUMENTS``."""
