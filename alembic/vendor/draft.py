"""Drafts a migration of the vendor's database from what the models say now.

    python alembic/vendor/draft.py 0002 "customers carry tags"

The draft compares the models with a scratch SQLite database at the newest revision. Read it,
cut what is not meant, name what has no name, run ``ruff format`` on it, set ``HEAD`` in
lifecycle/vendor/migrations.py, and let tests/vendor/test_migrations.py judge it. Before the
first release, delete versions/0001_first.py and draft 0001 anew instead.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from alembic import command
from lifecycle.vendor.database import Database
from lifecycle.vendor.migrations import alembic_config


def draft(revision: str, message: str) -> None:
    """Writes ``versions/<revision>_<message>.py``."""
    with tempfile.TemporaryDirectory() as folder:
        database = Database(f"sqlite:///{Path(folder) / 'scratch.sqlite'}")
        with database.transaction() as session:
            config = alembic_config(session.connection())
            config.set_main_option("file_template", "%%(rev)s_%%(slug)s")
            command.upgrade(config, "head")
            command.revision(config, message, autogenerate=True, rev_id=revision)
        database.close()


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    draft(sys.argv[1], sys.argv[2])
