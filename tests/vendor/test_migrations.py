"""The migrations lead to exactly what the models say, there and back, all or nothing."""

from __future__ import annotations

import re
import shutil
import stat
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine, text
from sqlalchemy.exc import IntegrityError

import lifecycle.vendor.access_models  # noqa: F401 - its tables are part of the metadata
from alembic import command
from bench.postgres import PostgresServer
from lifecycle.errors import InternalFault, Refused, Unavailable
from lifecycle.vendor import migrations
from lifecycle.vendor.database import Database
from lifecycle.vendor.migrations import HEAD, current_revision, downgrade, require_current, upgrade
from lifecycle.vendor.models import VendorTable, complete_for_postgresql

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'vendor.sqlite'}"


@pytest.fixture
def database(url: str) -> Iterator[Database]:
    """A database that the migrations made."""
    upgrade(url)
    made = Database(url)
    yield made
    made.close()


def rows(database: Database, statement: str) -> list[tuple[Any, ...]]:
    with database.engine.connect() as connection:
        return [tuple(row) for row in connection.execute(text(statement))]


def script_directory() -> ScriptDirectory:
    return ScriptDirectory(str(migrations.scripts()))


def test_head_is_the_newest_script_and_there_is_one() -> None:
    assert script_directory().get_heads() == [HEAD]


def test_up_from_nothing_down_to_nothing_and_up_again(url: str) -> None:
    upgrade(url)
    database = Database(url)
    first = schema(database)
    assert current_revision(database.engine) == HEAD
    assert set(first.tables) == {*VendorTable.metadata.tables, "alembic_version"}
    downgrade(url, "base")
    assert current_revision(database.engine) is None
    assert set(schema(database).tables) == {"alembic_version"}
    upgrade(url)
    assert schema(database) == first
    database.close()


def test_every_single_step_goes_up_and_down(url: str) -> None:
    database = Database(url)
    for script in reversed(list(script_directory().walk_revisions())):
        upgrade(url, script.revision)
        there = schema(database)
        downgrade(url, script.down_revision if isinstance(script.down_revision, str) else "base")
        upgrade(url, script.revision)
        assert schema(database) == there, f"{script.revision} does not come back as it was"
    database.close()


def test_upgrading_what_is_current_changes_nothing(database: Database, url: str) -> None:
    before = schema(database)
    upgrade(url)
    assert schema(database) == before


def test_the_database_file_is_private_from_its_first_moment(database: Database) -> None:
    assert database.url.database is not None
    assert stat.S_IMODE(Path(database.url.database).stat().st_mode) == 0o600


# No drift between the models and the migrations


class Schema:
    """What SQLite says about a database, in a form that can be compared."""

    def __init__(self, database: Database) -> None:
        master = rows(
            database,
            "SELECT type, name, tbl_name, sql FROM sqlite_master WHERE name NOT LIKE 'sqlite_%'",
        )
        self.indexes = {name: squeeze(sql) for kind, name, _, sql in master if kind == "index"}
        self.tables = {
            name: (
                tuple(sorted(rows(database, f"PRAGMA table_info('{name}')"), key=str)),
                tuple(
                    sorted(
                        (row[2:] for row in rows(database, f"PRAGMA foreign_key_list('{name}')")),
                        key=str,
                    )
                ),
                frozenset(re.findall(r"CONSTRAINT (\w+ [A-Z]+ ?(?:\([^()]*\))?)", squeeze(sql))),
            )
            for kind, name, _, sql in master
            if kind == "table"
        }

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Schema) and vars(self) == vars(other)

    __hash__ = None  # type: ignore[assignment]


def schema(database: Database) -> Schema:
    return Schema(database)


def squeeze(sql: str) -> str:
    return " ".join(sql.replace('"', "").split()).replace("( ", "(").replace(" )", ")")


@pytest.fixture
def modelled(tmp_path: Path) -> Iterator[Database]:
    """A database that the models made."""
    made = Database(f"sqlite:///{tmp_path / 'modelled.sqlite'}")
    VendorTable.metadata.create_all(made.engine)
    yield made
    made.close()


def test_alembic_sees_no_difference_between_models_and_migrations(database: Database) -> None:
    with database.engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_server_default": True})
        assert compare_metadata(context, VendorTable.metadata) == []


def test_tables_columns_and_constraints_are_those_of_the_models(
    database: Database, modelled: Database
) -> None:
    migrated = schema(database).tables
    del migrated["alembic_version"]
    assert migrated == schema(modelled).tables


def test_indexes_are_those_of_the_models_with_the_conditions_of_the_partial_ones(
    database: Database, modelled: Database
) -> None:
    indexes = schema(database).indexes
    assert indexes == schema(modelled).indexes
    for name, condition in {
        "uq_certificate_one_active": "WHERE state = 'active'",
        "uq_isolation_check_one_ordered": "WHERE verdict IS NULL",
        "uq_renewal_one_open": "WHERE state IN",
    }.items():
        assert indexes[name].startswith("CREATE UNIQUE INDEX")
        assert condition in indexes[name]


def test_everything_that_can_have_a_name_has_one(database: Database) -> None:
    made = rows(database, "SELECT sql FROM sqlite_master WHERE type = 'table' AND sql LIKE '%(%'")
    for (sql,) in made:
        for constraint in re.findall(r"[^(,]*(?:PRIMARY KEY|UNIQUE|FOREIGN KEY|CHECK)\b", sql):
            assert "CONSTRAINT" in constraint, sql


# On PostgreSQL


@pytest.fixture
def on_postgres(postgres: PostgresServer) -> Iterator[Database]:
    """A database on PostgreSQL that the migrations made."""
    url = postgres.create("to_migrate")
    upgrade(url)
    made = Database(url)
    yield made
    made.close()
    postgres.drop("to_migrate")


@pytest.fixture
def modelled_on_postgres(postgres: PostgresServer) -> Iterator[Database]:
    """A database on PostgreSQL that the models made."""
    complete_for_postgresql()
    made = Database(postgres.create("modelled"))
    VendorTable.metadata.create_all(made.engine)
    yield made
    made.close()
    postgres.drop("modelled")


COLUMNS = (
    "SELECT table_name, column_name, data_type, character_maximum_length, is_nullable,"
    " column_default FROM information_schema.columns WHERE table_schema = 'public'"
)
INDEXES = "SELECT tablename, indexname, indexdef FROM pg_indexes WHERE schemaname = 'public'"
CONSTRAINTS = (
    "SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid) FROM pg_constraint"
    " WHERE connamespace = 'public'::regnamespace"
)


def test_on_postgresql_the_migrations_lead_to_what_the_models_say(
    on_postgres: Database, modelled_on_postgres: Database
) -> None:
    for what in (COLUMNS, INDEXES, CONSTRAINTS):
        migrated = {row for row in rows(on_postgres, what) if row[0] != "alembic_version"}
        assert migrated == set(rows(modelled_on_postgres, what))
        assert len(migrated) > 30
    assert current_revision(on_postgres.engine) == HEAD


def test_on_postgresql_every_step_goes_up_and_down(on_postgres: Database) -> None:
    def described() -> list[set[tuple[Any, ...]]]:
        return [set(rows(on_postgres, what)) for what in (COLUMNS, INDEXES, CONSTRAINTS)]

    url = on_postgres.url.render_as_string()
    there = described()
    for script in script_directory().walk_revisions():
        downgrade(url, script.down_revision if isinstance(script.down_revision, str) else "base")
    upgrade(url)
    assert described() == there


def test_two_that_migrate_at_once_migrate_once(postgres: PostgresServer) -> None:
    url = postgres.create("twice")
    with ThreadPoolExecutor(2) as threads:
        for done in [threads.submit(upgrade, url), threads.submit(upgrade, url)]:
            done.result()
    database = Database(url)
    require_current(database.engine)
    database.close()
    postgres.drop("twice")


# Refusing to work on another revision


def test_a_database_that_was_never_migrated_is_refused_with_the_remedy(url: str) -> None:
    database = Database(url)
    with database.engine.begin() as connection:
        connection.execute(text("CREATE TABLE something (id INTEGER)"))
    with pytest.raises(Refused) as refused:
        require_current(database.engine)
    assert refused.value.codes == ("database_not_migrated",)
    assert "pushcert init" in str(refused.value)
    database.close()


def test_a_database_that_is_not_there_is_refused_and_not_made(url: str, tmp_path: Path) -> None:
    database = Database(url)
    with pytest.raises(Refused) as refused:
        require_current(database.engine)
    assert refused.value.codes == ("database_not_migrated",)
    assert list(tmp_path.iterdir()) == []
    database.close()


def test_a_database_of_an_older_revision_is_refused(database: Database, url: str) -> None:
    downgrade(url, "base")
    with pytest.raises(Refused) as refused:
        require_current(database.engine)
    assert refused.value.codes == ("database_not_migrated",)


def test_a_database_of_a_later_pushcert_is_refused(database: Database) -> None:
    with database.engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(Refused) as refused:
        require_current(database.engine)
    assert refused.value.codes == ("database_newer",)


def test_a_current_database_is_accepted(database: Database) -> None:
    require_current(database.engine)


def test_what_is_no_database_is_unavailable_or_refused_and_never_taken_as_current(
    tmp_path: Path,
) -> None:
    database = Database(f"sqlite:///{tmp_path}")
    with pytest.raises((Unavailable, Refused)):
        require_current(database.engine)
    database.close()


def test_looking_at_the_revision_does_not_import_alembic(database: Database) -> None:
    code = (
        "import sys\n"
        "from lifecycle.vendor.database import Database\n"
        "from lifecycle.vendor.migrations import require_current\n"
        "require_current(Database(sys.argv[1]).engine)\n"
        "assert not [name for name in sys.modules if name.split('.')[0] == 'alembic']\n"
    )
    url = database.url.render_as_string(hide_password=False)
    done = subprocess.run(
        [sys.executable, "-c", code, url], capture_output=True, text=True, check=False, cwd=ROOT
    )
    assert done.returncode == 0, done.stderr


def test_the_folder_of_the_scripts_shadows_nothing() -> None:
    assert not (ROOT / "alembic" / "__init__.py").exists()
    assert command.__file__ is not None
    assert not Path(command.__file__).is_relative_to(ROOT / "alembic")


# All or nothing, and without harm to what is there


@pytest.fixture
def next_script(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where a test puts a migration that follows the newest one."""
    copy = tmp_path / "scripts"
    shutil.copytree(migrations.scripts(), copy, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(migrations, "scripts", lambda: copy)
    return copy / "versions" / "9999_next.py"


def script(body: str) -> str:
    lines = "\n".join(f"    {line}" for line in body.splitlines())
    return (
        "import sqlalchemy as sa\nfrom alembic import op\n"
        f"revision = '9999'\ndown_revision = {HEAD!r}\n"
        f"def upgrade():\n{lines}\ndef downgrade():\n    pass\n"
    )


def test_a_migration_that_fails_leaves_nothing_behind(
    database: Database, url: str, next_script: Path
) -> None:
    before = schema(database)
    next_script.write_text(
        script("op.create_table('half', sa.Column('id', sa.Integer()))\nraise RuntimeError('no')")
    )
    with pytest.raises(RuntimeError, match="no"):
        upgrade(url)
    assert schema(database) == before
    assert current_revision(database.engine) == HEAD


def fill(database: Database) -> None:
    with database.engine.begin() as connection:
        connection.execute(
            text(
                "INSERT INTO customer (id, slug, name, email, kind, remote, created_at)"
                " VALUES (1, 'acme', 'Acme', 'it@acme.example', 'customer', false,"
                " '2027-03-01 00:00:00')"
            )
        )
        connection.execute(
            text(
                "INSERT INTO renewal (id, customer_id, state, reason, opened_at)"
                " VALUES (1, 1, 'requested', 'expiry', '2027-03-01 00:00:00')"
            )
        )


def test_a_table_to_which_others_refer_can_be_made_anew(
    database: Database, url: str, next_script: Path
) -> None:
    fill(database)
    next_script.write_text(
        script(
            "with op.batch_alter_table('customer', recreate='always') as table:\n"
            "    table.add_column(sa.Column('tags', sa.Text(), nullable=True))"
        )
    )
    upgrade(url)
    assert rows(database, "SELECT slug, tags FROM customer") == [("acme", None)]
    assert rows(database, "SELECT customer_id FROM renewal") == [(1,)]
    with database.engine.begin() as connection, pytest.raises(IntegrityError):
        connection.execute(text("DELETE FROM customer"))


def test_a_migration_that_orphans_rows_is_undone(
    database: Database, url: str, next_script: Path
) -> None:
    fill(database)
    next_script.write_text(script("op.execute('DELETE FROM customer')"))
    with pytest.raises(InternalFault):
        upgrade(url)
    assert rows(database, "SELECT slug FROM customer") == [("acme",)]
    assert current_revision(database.engine) == HEAD


def test_a_draft_of_what_has_not_changed_is_empty(tmp_path: Path) -> None:
    for folder in ("alembic", "lifecycle"):
        shutil.copytree(
            ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__")
        )
    done = subprocess.run(
        [sys.executable, "alembic/vendor/draft.py", "9999", "nothing"],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
        env={"PYTHONPATH": str(tmp_path)},
    )
    assert done.returncode == 0, done.stderr
    drafted = (tmp_path / "alembic" / "vendor" / "versions" / "9999_nothing.py").read_text()
    assert "op." not in drafted


def test_an_in_memory_database_is_looked_at_and_not_taken_for_a_missing_file() -> None:
    assert current_revision(create_engine("sqlite://")) is None
