from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, create_engine, inspect

from lifecycle.instance import migrations
from lifecycle.instance.models import VaultTable
from lifecycle.instance.vault import Vault

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.instance.conftest import World


@pytest.fixture
def connection(tmp_path: Path) -> Iterator[Connection]:
    engine = create_engine(f"sqlite:///{tmp_path / 'v.sqlite'}")
    with engine.connect() as connection:
        yield connection
    engine.dispose()


def test_the_revision_the_code_expects_is_the_newest_script() -> None:
    config = Config()
    config.set_main_option("script_location", str(migrations.scripts()))
    assert ScriptDirectory.from_config(config).get_heads() == [migrations.HEAD]


def test_the_migrated_schema_is_the_one_the_code_declares(connection: Connection) -> None:
    migrations.upgrade(connection)
    context = MigrationContext.configure(connection, opts={"compare_server_default": True})
    assert compare_metadata(context, VaultTable.metadata) == []
    migrated = _schema(connection)
    other = create_engine("sqlite://")
    with other.connect() as declared:
        VaultTable.metadata.create_all(declared)
        assert _schema(declared) == migrated
    other.dispose()


def test_every_downgrade_undoes_its_upgrade(connection: Connection) -> None:
    migrations.upgrade(connection)
    migrations.downgrade(connection, "base")
    assert inspect(connection).get_table_names() == ["alembic_version"]
    migrations.upgrade(connection)
    assert migrations.is_current(connection)


def test_opening_a_current_vault_does_not_import_alembic(world: World) -> None:
    code = (
        "import sys; from pathlib import Path; from lifecycle.instance.vault import Vault\n"
        "Vault.open(Path(sys.argv[1])).active(); sys.exit('alembic' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(world.directory)],
        cwd=Path(__file__).parents[2],
        check=False,
    )
    assert done.returncode == 0


def test_a_vault_of_an_earlier_revision_is_migrated_when_it_is_opened(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def upgrade(connection: Connection, revision: str = migrations.HEAD) -> None:
        asked.append(revision)
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = ?", (revision,))

    with world.vault._safe.database.transaction() as session:
        session.connection().exec_driver_sql("UPDATE alembic_version SET version_num = '0000'")
    monkeypatch.setattr(migrations, "upgrade", upgrade)
    Vault.open(world.directory).close()
    Vault.open(world.directory).close()
    assert asked == [migrations.HEAD]


def _schema(connection: Connection) -> dict[str, str]:
    rows = connection.exec_driver_sql(
        "SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL AND name != 'alembic_version'"
    )
    return {row[0]: "".join(row[1].split()).lower() for row in rows}
