"""The records of a vault's deploy targets: for which certificate each was last deployed."""

from __future__ import annotations

from dataclasses import asdict, fields

from sqlmodel import col, select

from lifecycle.instance.deploy.plan import Record
from lifecycle.instance.models import DeploymentRow
from lifecycle.instance.safe import Safe

_COLUMNS = tuple(field.name for field in fields(Record))


class DeploymentStore:
    """The records in a vault.

    Args:
        safe: the open vault.
    """

    def __init__(self, safe: Safe) -> None:
        self._safe = safe

    def all(self) -> dict[str, Record]:
        """Every record, by the target's name."""
        with self._safe.database.reading() as session:
            rows = session.exec(select(DeploymentRow).order_by(col(DeploymentRow.target)))
            return {row.target: Record(**{c: getattr(row, c) for c in _COLUMNS}) for row in rows}

    def keep(self, record: Record) -> None:
        """Writes a record in the place of the one before."""
        with self._safe.database.transaction() as session:
            row = session.get(DeploymentRow, record.target) or DeploymentRow(
                target=record.target, kind=record.kind
            )
            for name, value in asdict(record).items():
                setattr(row, name, value)
            session.add(row)

    def forget(self, target: str) -> None:
        """Removes the record of a target that is no longer configured."""
        with self._safe.database.transaction() as session:
            row = session.get(DeploymentRow, target)
            if row is not None:
                session.delete(row)
