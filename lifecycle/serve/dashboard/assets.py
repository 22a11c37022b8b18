"""Serves the dashboard's style, script and icon."""

from __future__ import annotations

from fastapi import Response

from lifecycle.serve.dashboard.access import Needs, Pages
from lifecycle.serve.dashboard.asset_files import MEDIA_TYPES, asset_file
from lifecycle.serve.dashboard.errors import Missing

assets = Pages()


@assets.show("/assets/{digest}/{name}", Needs.PUBLIC)
def asset(digest: str, name: str) -> Response:
    """A file of the dashboard's own; never one that a person names."""
    if name not in MEDIA_TYPES or digest != asset_file(name).digest:
        raise Missing("There is no such file.", "Load the page again.")
    return Response(
        asset_file(name).content,
        media_type=MEDIA_TYPES[name],
        headers={"Cache-Control": "public, max-age=31536000, immutable"},
    )
