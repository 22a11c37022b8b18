"""The report's statements: groups of one urgency, in the order in which it is shown, and everybody.

Which group a customer belongs to is decided as ``plan.status`` decides it. SQL picks by bounds that
are the policy's; what it cannot know, the spread that is fixed by the slug, is decided by
``report_reading``. A test holds the order against that of ``report.build_report``.
"""

from __future__ import annotations

from dataclasses import dataclass

from lifecycle.vendor.facts import OPEN_STATES

_OPEN = ", ".join(f"'{state}'" for state in sorted(OPEN_STATES))
_LATEST = (
    "SELECT x.id FROM isolation_check x WHERE x.customer_id = cu.id AND x.verdict IS NOT NULL"
    " ORDER BY x.concluded_at DESC, x.id DESC LIMIT 1"
)
"""The check that was judged last: one look at ``ix_isolation_check_latest``."""
_IN_CARE = "cu.offboarded_at IS NULL AND (cu.paused_at IS NULL OR cu.paused_until <= :at)"
_ACTIVE = "certificate c JOIN customer cu ON cu.id = c.customer_id"
_IS_ACTIVE = f"c.state = 'active' AND {_IN_CARE}"
_LIVES = f"{_IS_ACTIVE} AND (c.revoked_at IS NULL OR c.revoked_at > :at)"
_ANY = "customer cu LEFT JOIN certificate c ON c.customer_id = cu.id AND c.state = 'active'"
BY_END = ("c.not_after", "cu.slug")
BY_SLUG = ("cu.slug",)


@dataclass(frozen=True, slots=True)
class Group:
    """Customers of one urgency.

    Attributes:
        name: their status; of the first group, ``breached``.
        tables, condition: FROM and WHERE, of ``cu``, and ``c`` for their active certificate.
        order: the slug comes last.
        low, high: only what ends after the one and not after the other: ``at``, or the end of
            the policy's ``urgent`` or ``window`` from there; None: no bound.
        opened: True: only those whose renewal opens by now; False: only those whose does not.
    """

    name: str
    tables: str
    condition: str
    order: tuple[str, ...] = BY_END
    low: str | None = None
    high: str | None = None
    opened: bool | None = None


BREACHED = Group(
    "breached",
    _ANY,
    "cu.offboarded_at IS NULL AND cu.id IN"
    # The bound says nothing; by it SQLite sees that the index of the breached is the right one.
    " (SELECT customer_id FROM isolation_check WHERE verdict = 'breached'"
    " AND concluded_at > '0001-01-02')"
    f" AND EXISTS (SELECT 1 FROM isolation_check k WHERE k.id = ({_LATEST})"
    " AND k.verdict = 'breached' AND k.certificate_id = c.id)",
    order=BY_SLUG,
)
"""They come before all, and are passed over in the group that they would be in."""

GROUPS = (
    Group("revoked", _ACTIVE, f"{_IS_ACTIVE} AND c.revoked_at <= :at"),
    Group("expired", _ACTIVE, _LIVES, high="at"),
    Group("urgent", _ACTIVE, _LIVES, low="at", high="urgent"),
    Group("due", _ACTIVE, _LIVES, low="urgent", high="window", opened=True),
    Group(
        "no_certificate",
        _ANY,
        f"c.id IS NULL AND {_IN_CARE}",
        order=BY_SLUG,
    ),
    Group("ok", _ACTIVE, _LIVES, low="urgent", opened=False),
    Group(
        "paused",
        _ANY,
        "cu.offboarded_at IS NULL AND cu.paused_at IS NOT NULL"
        " AND (cu.paused_until IS NULL OR cu.paused_until > :at)",
        order=("COALESCE(c.not_after, :latest)", "cu.slug"),
    ),
)
"""All customers in care, each in one group."""

COLUMNS = (
    *("cu.id", "cu.slug", "cu.name", "cu.email", "cu.apple_account", "cu.kind"),
    *("cu.paused_at", "cu.paused_until", "cu.paused_reason"),
    *("c.id", "c.topic", "c.serial", "c.common_name", "c.not_after", "c.revoked_at"),
    *("r.state", "r.reason", "r.opened_at", "r.blocked_code", "r.blocked_at"),
    "r.blocked_message",
    "EXISTS (SELECT 1 FROM certificate n WHERE n.renewal_id = r.id AND n.state = 'received')",
    *("k.verdict", "k.why", "k.concluded_at"),
)
INSTANTS = frozenset(name for name in COLUMNS if name.endswith(("_at", "_after", "_until")))
WORDS = (("contact", "address"), ("customer_tag", "tag"))
"""Tables of what a customer has several of, and the column; the last of the columns."""
_RENEWAL = f"LEFT JOIN renewal r ON r.customer_id = cu.id AND r.state IN ({_OPEN})"
_CHECK = {
    False: f"LEFT JOIN isolation_check k ON k.id = ({_LATEST}) AND k.certificate_id = c.id",
    # SQLite knows no LATERAL; PostgreSQL would look for the latest twice without it.
    True: f"LEFT JOIN LATERAL ({_LATEST.replace('x.id', 'x.*', 1)}) k ON k.certificate_id = c.id",
}


def statement(
    group: Group,
    *,
    postgresql: bool,
    tags: int = 0,
    after: bool = False,
    limit: int | None = None,
) -> str:
    """The SELECT of a group's rows, with ``:name`` for what varies, ``:low`` and ``:high`` too.

    Args:
        postgresql: else SQLite.
        tags: so many are given, as ``:tag0``, ``:tag1``, …; one of them is wanted.
        after: go on after ``:after0``, …: the order's values of a row.
        limit: rows at most.
    """
    condition = group.condition
    if group.low is not None:
        condition += " AND c.not_after > :low"
    if group.high is not None:
        condition += " AND c.not_after <= :high"
    condition += _tagged(tags)
    if after:
        values = ", ".join(f":after{number}" for number in range(len(group.order)))
        condition += f" AND ({', '.join(group.order)}) > ({values})"
    end = "" if limit is None else f" LIMIT {limit}"
    select = _select(group.tables, _RENEWAL, condition, postgresql)
    return f"{select} ORDER BY {', '.join(group.order)}{end}"


def everybody(*, postgresql: bool, tags: int = 0) -> str:
    """The same columns of all in care whose key is above ``:low`` and up to ``:high``.

    In no order: along the keys each table and index is read from its beginning to its end, which
    takes a quarter of what looking up each customer in the order of the report does.
    """
    # Of two indexes SQLite takes the one that is unique, and would fetch each certificate's row.
    hint = "" if postgresql else "INDEXED BY ix_certificate_active_of "
    tables = _ANY.replace("certificate c ", f"certificate c {hint}")
    # Where PostgreSQL merges or hashes them, it would go through those of all other customers.
    tables += " AND c.customer_id > :low AND c.customer_id <= :high"
    renewal = f"{_RENEWAL} AND r.customer_id > :low AND r.customer_id <= :high"
    condition = f"cu.offboarded_at IS NULL AND cu.id > :low AND cu.id <= :high{_tagged(tags)}"
    return _select(tables, renewal, condition, postgresql)


def _select(tables: str, renewal: str, condition: str, postgresql: bool) -> str:
    columns = [_as_text(name, postgresql) if name in INSTANTS else name for name in COLUMNS]
    columns += [_words(table, column, postgresql) for table, column in WORDS]
    columns.append("EXISTS (SELECT 1 FROM deployment d WHERE d.customer_id = cu.id)")
    return (
        f"SELECT {', '.join(columns)} FROM {tables} {renewal} {_CHECK[postgresql]}"
        f" WHERE {condition}"
    )


def _tagged(tags: int) -> str:
    if not tags:
        return ""
    names = ", ".join(f":tag{number}" for number in range(tags))
    return f" AND cu.id IN (SELECT customer_id FROM customer_tag WHERE tag IN ({names}))"


def _as_text(instant: str, postgresql: bool) -> str:
    """``2027-03-01 12:00:00``, in UTC, as SQLite keeps it; the fraction may be missing."""
    return f"({instant} AT TIME ZONE 'UTC')::text" if postgresql else instant


def _words(table: str, column: str, postgresql: bool) -> str:
    """All of a customer's, sorted, with spaces between; no such word has one."""
    if postgresql:
        said = f"string_agg({column}, ' ' ORDER BY {column})"
        has = f"EXISTS (SELECT 1 FROM {table} WHERE customer_id = cu.id)"
        return f"CASE WHEN {has} THEN (SELECT {said} FROM {table} WHERE customer_id = cu.id) END"
    sorted_words = f"SELECT {column} FROM {table} WHERE customer_id = cu.id ORDER BY {column}"
    return f"(SELECT group_concat({column}, ' ') FROM ({sorted_words}))"
