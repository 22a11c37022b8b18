"""``python -m cli``: the same as the console script ``pushcert``."""

from __future__ import annotations

from cli.main import app

app(prog_name="pushcert")
