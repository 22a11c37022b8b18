"""What a fleet costs: 10,000 and 1,000,000 customers, on SQLite and on PostgreSQL.

    python -m bench.fleet [--sizes 10000,1000000] [--kinds sqlite,postgresql] [--dir DIR]

The registry is filled in bulk (COPY, executemany) with what a vendor's would hold: certificates of
1,200 bytes that end over a year, an isolation check each, an open renewal and its message inside
the window. Then, through the real code: a tick with nothing due, the due query, the opening of
1,000 renewals, a customer's page, the first page of the report, the whole report as CSV and the
import of as many customers into an empty registry, the last two as commands of their own whose
memory the system tells. The CSV of an empty registry beside them is what a command costs by itself.
Medians; nothing else should be running.
"""

from __future__ import annotations

import argparse
import csv
import os
import re
import shutil
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
from rich.console import Console
from rich.table import Table

from bench.postgres import PostgresServer
from lifecycle.clock import SystemClock
from lifecycle.config import load_config
from lifecycle.vendor import audit, customer_search, store
from lifecycle.vendor.customer_search import Wanted
from lifecycle.vendor.dry_run import tell_story
from lifecycle.vendor.migrations import upgrade
from lifecycle.vendor_plane import VendorPlane

DAY = timedelta(days=1)
WINDOW = 45
OPENED = 1000
STRIDE, CHECK_STRIDE = 7919, 104729
"""Primes: so many customers on is the next to end, and to have been checked."""
DER = os.urandom(1200)
ROUNDS = 15


@dataclass
class Figures:
    """What was measured of one fleet: seconds, unless it says otherwise."""

    kind: str
    size: int
    found: dict[str, float] = field(default_factory=dict)


def customers(size: int, now: datetime) -> Iterator[dict[str, Any]]:
    """Nobody is due: the next look is spread over the coming week."""
    for number in range(1, size + 1):
        yield {
            "id": number,
            "slug": f"customer-{number:08}",
            "name": f"Customer {number} GmbH",
            "email": f"it@customer-{number:08}.example",
            "apple_account": f"push@customer-{number:08}.example",
            "kind": "customer",
            "created_at": now - 300 * DAY,
            "remote": True,
            "next_action_at": now + timedelta(seconds=3600 + number * 518_400 // size),
        }


def ends(number: int, size: int, now: datetime) -> datetime:
    """When a certificate ends: evenly over a year, in no order of the customers."""
    place = number * STRIDE % size
    return (now + 2 * DAY + place * (360 * DAY) / size).replace(microsecond=0)


def certificates(size: int, now: datetime) -> Iterator[dict[str, Any]]:
    """One each, active; they came in the order in which they end, as they do where all renew."""
    for id_, number in enumerate(by_end(size), 1):
        end = ends(number, size, now)
        yield {
            "id": id_,
            "customer_id": number,
            "state": "active",
            "topic": f"com.apple.mgmt.External.{number:032x}",
            "serial": f"{number:016X}",
            "common_name": f"APSP:{number:032x}",
            "issuer": "CN=Apple Application Integration 2 Certification Authority",
            "fingerprint": f"{number:064x}",
            "key_fingerprint": f"{number + 2**200:064x}",
            "not_before": end - 365 * DAY,
            "not_after": end,
            "der": DER,
            "names_responder": False,
            "recorded_at": end - 365 * DAY,
            "activated_at": end - 365 * DAY,
        }


def by_end(size: int) -> Iterator[int]:
    """The customers' numbers in the order in which their certificates end."""
    step = pow(STRIDE, -1, size)
    for place in range(size):
        yield place * step % size or size


def checks(size: int, now: datetime) -> Iterator[dict[str, Any]]:
    """The last isolation check of each, in no order of the customers or their certificates."""
    for id_ in range(1, size + 1):
        number = id_ * CHECK_STRIDE % size or size
        yield {
            "id": id_,
            "customer_id": number,
            "certificate_id": number * STRIDE % size + 1,
            "ordered_at": now - DAY,
            "concluded_at": now - DAY,
            "verdict": "isolated",
            "why": "All four probes were answered as they must be.",
            "answers": "[]",
        }


def opened(size: int, now: datetime) -> Iterator[int]:
    """Who is inside the window, but for those whose renewals are to be opened."""
    inside = (n for n in range(1, size + 1) if ends(n, size, now) - now < WINDOW * DAY)
    for place, number in enumerate(inside):
        if place >= OPENED:
            yield number


def renewals(size: int, now: datetime) -> Iterator[dict[str, Any]]:
    """One for each inside the window, handed over."""
    for number in opened(size, now):
        yield {
            "id": number,
            "customer_id": number,
            "state": "delivered",
            "reason": "expiry",
            "opened_at": now - DAY,
            "csr": DER,
            "signature": DER[:256],
            "signer_fingerprint": f"{1:064x}",
            "delivered_at": now - DAY,
        }


def messages(size: int, now: datetime) -> Iterator[dict[str, Any]]:
    """What went out with it."""
    for number in opened(size, now):
        yield {
            "id": number,
            "dedupe_key": f"delivery:{number}",
            "kind": "delivery",
            "channel": "mail",
            "customer_id": number,
            "renewal_id": number,
            "ladder": f"certificate:{number}",
            "rung": "expiry:30",
            "recipients": '["it@example.com"]',
            "copies": "[]",
            "subject": "Renew",
            "body": "x" * 1500,
            "attach_request": True,
            "created_at": now - DAY,
            "attempts": 1,
            "sent_at": now - DAY,
            "lease_lapsed": False,
        }


TABLES: tuple[tuple[str, Callable[[int, datetime], Iterable[dict[str, Any]]]], ...] = (
    ("customer", customers),
    ("renewal", renewals),
    ("certificate", certificates),
    ("isolation_check", checks),
    ("outbox", messages),
)


def fill_sqlite(path: Path, size: int, now: datetime) -> None:
    """Fills a registry in SQLite."""
    with sqlite3.connect(path) as database:
        database.execute("PRAGMA synchronous = OFF")
        for table, rows in TABLES:
            names: tuple[str, ...] = ()
            batch: list[tuple[Any, ...]] = []
            for row in rows(size, now):
                names = names or tuple(row)
                batch.append(tuple(_stored(value) for value in row.values()))
                if len(batch) == 10_000:
                    _insert(database, table, names, batch)
                    batch = []
            if batch:
                _insert(database, table, names, batch)
    database.close()


def _insert(
    database: sqlite3.Connection, table: str, names: tuple[str, ...], batch: list[tuple[Any, ...]]
) -> None:
    marks = ", ".join("?" * len(names))
    database.executemany(
        f"INSERT INTO {table} ({', '.join(names)}) VALUES ({marks})",  # noqa: S608
        batch,
    )


def _stored(value: object) -> object:
    if isinstance(value, datetime):
        return value.strftime("%Y-%m-%d %H:%M:%S.%f")
    return value


def fill_postgresql(url: str, size: int, now: datetime) -> None:
    """Fills a registry on PostgreSQL."""
    with psycopg.connect(url.replace("+psycopg", ""), autocommit=True) as connection:
        for table, rows in TABLES:
            left = iter(rows(size, now))
            first = next(left, None)
            if first is None:
                continue
            with (
                connection.cursor() as cursor,
                cursor.copy(f"COPY {table} ({', '.join(first)}) FROM STDIN") as copy,
            ):
                copy.write_row(tuple(first.values()))
                for row in left:
                    copy.write_row(tuple(row.values()))
        connection.execute("VACUUM ANALYZE")


def median(work: Callable[[], object], rounds: int = ROUNDS) -> float:
    """Seconds of the median round, after one that does not count."""
    work()
    taken = []
    for _ in range(rounds):
        began = time.perf_counter()
        work()
        taken.append(time.perf_counter() - began)
    return statistics.median(taken)


def command(config: Path, *arguments: str) -> tuple[float, float]:
    """Wall-clock seconds, and MiB of memory at the most, of one run of pushcert.

    The memory is that of the process and its children together, each page counted once, looked at
    twenty times a second; or what the system says of the process alone, if that is more.
    """
    began = time.perf_counter()
    process = subprocess.Popen(
        (sys.executable, "-m", "cli", "--config", str(config), *arguments),
        stdout=subprocess.DEVNULL,
    )
    over, most = threading.Event(), [0.0]

    def look() -> None:
        while not over.wait(0.05):
            most[0] = max(most[0], memory_of(process.pid))

    looking = threading.Thread(target=look)
    looking.start()
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - began
    over.set()
    looking.join()
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"{arguments}: exit code {process.returncode}")
    return seconds, max(most[0], usage.ru_maxrss / 1024)


def memory_of(pid: int) -> float:
    """MiB of a process and its children, by proportional set size; 0 for one that has ended."""
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
    except OSError:
        return 0.0
    found = re.search(r"^Pss: +(\d+) kB", rollup, re.MULTILINE)
    own = int(found[1]) / 1024 if found else 0.0
    return own + sum(memory_of(int(child)) for child in children)


def write_config(directory: Path, url: str) -> Path:
    """A deployment on this database, with nobody to tell and no mail server."""
    directory.mkdir(parents=True, exist_ok=True)
    config = directory / "config.toml"
    config.write_text(f'[vendor]\ndatabase = "{url}"\nops = ["ops@bench.example"]\n')
    return config


def measure(figures: Figures, config: Path, now: datetime, directory: Path) -> None:
    """Everything but the import."""
    found = figures.found
    with VendorPlane(load_config(config), SystemClock()) as plane:
        found["tick, nothing due"] = median(plane.worker.tick)

        def due() -> None:
            with plane.database.reading() as session:
                store.due_customers(session, now, 100)

        found["due query"] = median(due, 5 * ROUNDS)

        def customer_page() -> None:
            slug = f"customer-{figures.size // 2:08}"
            with plane.database.reading() as session:
                customer = store.customer_by_slug(session, slug)
                store.load(session, customer)
                store.renewals_of(session, customer)
                audit.latest(session, 20, slug)
            tell_story(plane.database, plane.policy, slug, now, mail=True, quiet=None)

        found["customer page"] = median(customer_page)

        def first_page() -> None:
            with plane.database.reading() as session:
                found_page = customer_search.find(session, Wanted(), plane.policy, now)
                assert (found_page.total, len(found_page.rows)) == (figures.size, 50)

        found["first page of the report"] = median(first_page)
        found[f"opening {OPENED} renewals"] = open_renewals(plane, figures.size, now)
    seconds, memory = command(
        config, "report", "--format", "csv", "--out", str(directory / "report.csv")
    )
    with (directory / "report.csv").open() as file:
        rows = sum(1 for _ in file) - 1
    assert rows >= figures.size, rows
    found["full CSV, rows/s"] = rows / seconds
    found["full CSV, MiB at most"] = memory
    (directory / "report.csv").unlink()


def open_renewals(plane: VendorPlane, size: int, now: datetime) -> float:
    """Makes as many customers due whose certificates are inside the window; seconds of a tick."""
    taken = set(opened(size, now))
    inside = (n for n in range(1, size + 1) if ends(n, size, now) - now < 20 * DAY)
    chosen = [number for number in inside if number not in taken][:OPENED]
    with plane.database.transaction() as session:
        for number in chosen:
            store.customer_by_id(session, number).next_action_at = now - DAY
    began = time.perf_counter()
    done = plane.worker.tick()
    taken_seconds = time.perf_counter() - began
    assert done.actions["OpenRenewal"] == len(chosen), done
    return taken_seconds * OPENED / len(chosen)


def import_all(figures: Figures, config: Path, directory: Path) -> None:
    """Imports as many customers into an empty registry."""
    file = directory / "customers.csv"
    with file.open("w", newline="") as opened_file:
        writer = csv.writer(opened_file)
        writer.writerow(("slug", "name", "email", "apple_account"))
        for number in range(figures.size):
            slug = f"new-{number:08}"
            writer.writerow((slug, f"New {number}", f"it@{slug}.example", f"mdm@{slug}.example"))
    seconds, memory = command(config, "customer", "import", str(file))
    figures.found["import, rows/s"] = figures.size / seconds
    figures.found["import, MiB at most"] = memory
    file.unlink()


def one_fleet(
    kind: str, size: int, directory: Path, server: PostgresServer | None, *, imports: bool
) -> Figures:
    """Makes one fleet, and measures it."""
    figures = Figures(kind, size)
    now = datetime.now(UTC).replace(microsecond=0)
    place = directory / f"{kind}-{size}"
    place.mkdir(parents=True)
    if server is None:
        url, empty = (f"sqlite:///{place / name}.sqlite" for name in ("fleet", "empty"))
    else:
        url, empty = server.create(f"fleet_{size}"), server.create(f"empty_{size}")
    began = time.perf_counter()
    for each in (url, empty):
        upgrade(each)
    if server is None:
        fill_sqlite(place / "fleet.sqlite", size, now)
    else:
        fill_postgresql(url, size, now)
    figures.found["filled in"] = time.perf_counter() - began
    measure(figures, write_config(place / "fleet", url), now, place)
    nobody = write_config(place / "empty", empty)
    out = str(place / "nobody.csv")
    figures.found["CSV of nobody"], _ = command(nobody, "report", "--format", "csv", "--out", out)
    if imports:
        import_all(figures, nobody, place)
    print(kind, f"{size:,}:", {name: _said(name, value) for name, value in figures.found.items()})
    if server is not None:
        server.drop(f"fleet_{size}")
        server.drop(f"empty_{size}")
    shutil.rmtree(place)
    return figures


LIMITS = {
    "tick, nothing due": "large ≤ 1.5 × small",
    "due query": "large ≤ 1.5 × small",
    "full CSV, rows/s": "≥ 100,000",
    "full CSV, MiB at most": "≤ 200",
    "import, rows/s": "≥ 10,000",
    "import, MiB at most": "≤ 200",
}


def table_of(all_figures: list[Figures]) -> Table:
    """Everything that was measured, a line for each thing."""
    table = Table(title="fleet")
    table.add_column("")
    for one in all_figures:
        table.add_column(f"{one.kind}\n{one.size:,}", justify="right")
    table.add_column("must be")
    for name in all_figures[0].found:
        cells = [_said(name, one.found.get(name)) for one in all_figures]
        table.add_row(name, *cells, LIMITS.get(name, ""))
    return table


def _said(name: str, value: float | None) -> str:
    if value is None:
        return "–"
    if "rows/s" in name or "MiB" in name:
        return f"{value:,.0f}"
    return f"{value * 1000:,.2f} ms" if value < 1 else f"{value:,.1f} s"


def main() -> None:
    """Measures, and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", default="10000,1000000")
    parser.add_argument("--kinds", default="sqlite,postgresql")
    parser.add_argument("--dir", type=Path)
    parser.add_argument("--no-import", action="store_true")
    given = parser.parse_args()
    sizes = [int(size) for size in given.sizes.split(",")]
    directory = Path(tempfile.mkdtemp(prefix="fleet-", dir=given.dir))
    found: list[Figures] = []
    try:
        for kind in given.kinds.split(","):
            if kind == "sqlite":
                found += [
                    one_fleet(kind, n, directory, None, imports=not given.no_import) for n in sizes
                ]
                continue
            settings = {"shared_buffers": "1GB", "fsync": "on", "full_page_writes": "on"}
            with PostgresServer(settings) as server:
                found += [
                    one_fleet(kind, n, directory, server, imports=not given.no_import)
                    for n in sizes
                ]
    finally:
        shutil.rmtree(directory)
    Console(width=120).print(table_of(found))
    for kind in given.kinds.split(","):
        own = [one for one in found if one.kind == kind]
        for name in ("tick, nothing due", "due query"):
            ratio = own[-1].found[name] / own[0].found[name]
            print(f"{kind}: {name}, {own[-1].size:,} beside {own[0].size:,}: {ratio:.2f} ×")


if __name__ == "__main__":
    main()
