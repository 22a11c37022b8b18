"""A deployment of some customers on disk, the lab that serves them, and ways to sweep it."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest
from sqlalchemy import text

from bench.population import Population, populate
from lifecycle.clock import SystemClock
from lifecycle.config import load_config
from lifecycle.embedded import Embedded
from lifecycle.lab.serve import Lab
from lifecycle.sweep.run import Choice, Outcome, sweep


@dataclass
class Fleet:
    """The deployment, its lab, and both planes."""

    made: Population
    lab: Lab
    embedded: Embedded

    def sweep(self, *, resume: bool = False, stop: Callable[[], bool] = lambda: False) -> Outcome:
        return sweep(self.embedded, Choice(resume=resume, actor="test"), stop=stop)

    def rows(self, statement: str) -> list[tuple[object, ...]]:
        with self.embedded.database.engine.connect() as connection:
            return [tuple(row) for row in connection.execute(text(statement))]

    def verdicts(self, run_id: str) -> dict[str, str]:
        """Of each customer, under this run."""
        found = self.rows(
            "SELECT c.slug, i.verdict FROM isolation_check i JOIN customer c"
            f" ON c.id = i.customer_id WHERE i.run_id = '{run_id}'"
        )
        return {str(slug): str(verdict) for slug, verdict in found}

    def checked_once(self, run_id: str) -> bool:
        """Every customer has exactly one verdict under this run, and nothing is outstanding."""
        found = self.rows(
            "SELECT c.slug, COUNT(*), MIN(i.verdict) FROM isolation_check i JOIN customer c"
            f" ON c.id = i.customer_id WHERE i.run_id = '{run_id}' GROUP BY c.slug ORDER BY c.slug"
        )
        return [(slug, count) for slug, count, verdict in found if verdict is not None] == [
            (slug, 1) for slug in sorted(self.made.slugs)
        ]


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


@pytest.fixture
def fleet_of(tmp_path: Path) -> Iterator[Callable[..., Fleet]]:
    """Makes a fleet: ``fleet_of(customers, breach=…, apns={…}, isolation={…})``."""
    with ExitStack() as stack:

        def make(customers: int, *, breach: int = 0, **sections: dict[str, float]) -> Fleet:
            directory = tmp_path / "fleet"
            port = free_port()
            made = populate(directory, customers, apns_port=port, breach=breach)
            config = directory / "config.toml"
            lines = config.read_text()
            for section, values in sections.items():
                said = "".join(f"{name} = {value}\n" for name, value in values.items())
                lines = lines.replace(f"[{section}]\n", f"[{section}]\n{said}")
            config.write_text(lines)
            lab = stack.enter_context(Lab(directory / "lab", apns_port=port))
            embedded = stack.enter_context(Embedded(load_config(config), SystemClock()))
            return Fleet(made, lab, embedded)

        yield make
