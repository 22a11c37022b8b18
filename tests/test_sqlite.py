"""Engines on SQLite files: what one has compiled, the next need not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Column, Engine, Integer, MetaData, Table, insert, select
from sqlalchemy.engine import URL
from sqlalchemy.engine.interfaces import CacheStats
from sqlalchemy.sql.compiler import SQLCompiler

from lifecycle.instance.vault import Vault
from lifecycle.sqlite import sqlite_engine

NUMBERS = Table("numbers", MetaData(), Column("number", Integer, primary_key=True))


def engine_on(file: Path) -> Engine:
    engine = sqlite_engine(URL.create("sqlite", database=str(file)))
    NUMBERS.metadata.create_all(engine)
    return engine


def looked(engine: Engine) -> tuple[list[int], CacheStats]:
    """The numbers in the file, and whether the statement was compiled already."""
    with engine.connect() as connection:
        result: Any = connection.execute(select(NUMBERS.c.number))
        return list(result.scalars()), result.context.cache_hit


def test_a_statement_is_compiled_once_for_all_files_and_reads_each_its_own(tmp_path: Path) -> None:
    one, other = engine_on(tmp_path / "one.sqlite"), engine_on(tmp_path / "other.sqlite")
    with one.begin() as connection:
        connection.execute(insert(NUMBERS).values(number=7))
    looked(one)
    assert looked(one) == ([7], CacheStats.CACHE_HIT)
    assert looked(other) == ([], CacheStats.CACHE_HIT)
    for engine in (one, other):
        engine.dispose()


def test_a_vault_that_is_opened_again_finds_its_statements_compiled(tmp_path: Path) -> None:
    Vault.create(tmp_path / "vault").close()
    with Vault.open(tmp_path / "vault") as vault:
        vault.active()
    compiled: list[str] = []

    def note(self: SQLCompiler, *rest: Any, **named: Any) -> None:
        compiled.append(str(rest))
        make(self, *rest, **named)

    make = SQLCompiler.__init__
    with pytest.MonkeyPatch.context() as patch, Vault.open(tmp_path / "vault") as vault:
        patch.setattr(SQLCompiler, "__init__", note)
        vault.active()
    assert compiled == []
