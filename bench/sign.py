"""Signatures per second and core: ours beside `openssl speed rsa2048`.

    python -m bench.sign [--csrs 1000] [--rounds 7] [--no-postgresql]

"pure" takes CSRs apart, vets, signs and encodes them (``SignerDirectory.sign_all``), by the time in
user mode, as openssl counts its own: neither asks the kernel for anything, and what the kernel
takes by itself grows with what others do on the machine. "stored" is what the worker does with
CSRs that lie in SQLite: the signatures, of which requests are put together when they are given
out, and the audit entries are there at the end. That asks the kernel for much: all CPU time
counts. The reference is taken anew in every round, and medians are compared.

Then one worker and two on PostgreSQL, each a process that ticks as ``run`` does until no CSR
waits: customers are taken with leases, signed for, and handed over. By the clock on the wall.
"""

from __future__ import annotations

import argparse
import re
import resource
import statistics
import subprocess
import tempfile
import time
from datetime import UTC, datetime
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from rich.console import Console
from rich.table import Table
from sqlalchemy import func, select, update
from sqlmodel import col

from bench.keys import keys
from bench.postgres import PostgresServer
from lifecycle.clock import SystemClock
from lifecycle.config import load_config
from lifecycle.lab.authority import Authority
from lifecycle.pki.csr import build_csr
from lifecycle.vendor.batch_signing import sign_waiting
from lifecycle.vendor.database import Database
from lifecycle.vendor.facts import Policy, RenewalState
from lifecycle.vendor.migrations import upgrade
from lifecycle.vendor.models import AuditEntry, Customer, Renewal
from lifecycle.vendor.signer import SignedCsr, SignerDirectory
from lifecycle.vendor.signer_in_force import put_in_force
from lifecycle.vendor_plane import VendorPlane

BATCH = 100
"""As many customers as the worker takes at a time."""
WORKED = 400
"""CSRs for which workers on PostgreSQL do all that is owed, letters and all."""
SECONDS = 1
"""How long each contender is measured in a round."""
WANTED = {"pure": 0.85, "stored": 0.6}


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--csrs", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--no-postgresql", action="store_true")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        signer = _signer(Path(folder))
        now = datetime.now(UTC)
        csrs = [
            build_csr(key, email=f"it@customer-{n}.example", common_name=f"Customer {n}").der
            for n, key in enumerate(keys(chosen.csrs))
        ]
        database = _database(Path(folder), signer, csrs, now)
        rates: dict[str, list[float]] = {"openssl": [], "pure": [], "stored": []}
        for _ in range(chosen.rounds):
            rates["openssl"].append(_openssl())
            rates["pure"].append(_pure(signer, csrs))
            rates["stored"].append(_stored(database, signer, len(csrs), now))
        database.close()
    _show(rates)
    if not chosen.no_postgresql:
        _show_workers(csrs[:WORKED], min(chosen.rounds, 3))


def _signer(folder: Path) -> SignerDirectory:
    authority = Authority(SystemClock())
    key = generate_private_key(65537, 2048)
    certificate = authority.issue_signing_certificate(key.public_key(), "Example MDM")
    signer = SignerDirectory(folder / "signer")
    signer.install(certificate, key, (), authority.trust, at=datetime.now(UTC))
    return signer


def _database(
    folder: Path, signer: SignerDirectory, csrs: list[bytes], now: datetime, url: str = ""
) -> Database:
    url = url or f"sqlite:///{folder / 'vendor.sqlite'}"
    upgrade(url)
    database = Database(url)
    record = signer.current()
    assert record is not None
    with database.transaction() as session:
        put_in_force(session, record, now)
        for number, csr in enumerate(csrs, 1):
            slug = f"customer-{number}"
            session.add(
                Customer(id=number, slug=slug, name=slug, email=f"it@{slug}.example",
                         created_at=now, next_action_at=now)
            )  # fmt: skip
            session.add(
                Renewal(customer_id=number, state=RenewalState.CSR_RECEIVED, reason="expiry",
                        opened_at=now, opened_by="worker", csr=csr, csr_received_at=now)
            )  # fmt: skip
    return database


def _openssl() -> float:
    said = subprocess.run(
        ["openssl", "speed", "-seconds", str(SECONDS), "rsa2048"],  # noqa: S607
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    found = re.search(r"^rsa\s+2048 bits\s+\S+\s+\S+\s+([\d.]+)", said, re.MULTILINE)
    assert found is not None, said
    return float(found[1])


def _pure(signer: SignerDirectory, csrs: list[bytes]) -> float:
    done, before = 0, _in_user_mode()
    while (spent := _in_user_mode() - before) < SECONDS:
        for at in range(0, len(csrs), BATCH):
            for made in signer.sign_all(csrs[at : at + BATCH]):
                assert isinstance(made, SignedCsr)
                assert made.request
        done += len(csrs)
    return done / spent


def _in_user_mode() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_utime


def _stored(database: Database, signer: SignerDirectory, count: int, now: datetime) -> float:
    with database.transaction() as session:
        _unsign = update(Renewal).values(state=RenewalState.CSR_RECEIVED, signature=None)
        session.execute(_unsign)
        logged = session.execute(select(func.count()).select_from(AuditEntry)).scalar_one()
    before = time.process_time()
    done = sum(
        sign_waiting(
            database, signer, Policy(), range(at, min(at + BATCH, count + 1)), now, actor="bench"
        )
        for at in range(1, count + 1, BATCH)
    )
    spent = time.process_time() - before
    with database.reading() as session:
        requests = select(func.count()).where(col(Renewal.signature).is_not(None))
        assert done == count == session.execute(requests).scalar_one()
        entries = session.execute(select(func.count()).select_from(AuditEntry)).scalar_one()
        assert entries == logged + count
    return count / spent


def _work(config: Path, start: Any, done: Any) -> None:
    """A worker: ticks until nobody is due."""
    with VendorPlane(load_config(config), SystemClock()) as plane:
        plane.signer.ready()
        start.wait()
        count = 0
        while looked := plane.worker.tick(batch=BATCH):
            count += looked.actions.get("SignRequest", 0)
            assert not looked.defects, looked.defects
            if not looked.customers:
                break
        done.put(count)


def _by_workers(
    server: PostgresServer, folder: Path, csrs: list[bytes], workers: int
) -> tuple[float, list[int]]:
    """CSRs signed in a second by so many workers together, and how many each signed."""
    folder.mkdir()
    now = datetime.now(UTC)
    server.drop("signing")
    url = server.create("signing")
    config = folder / "config.toml"
    config.write_text(f'[vendor]\ndatabase = "{url}"\nops = ["ops@bench.example"]\n')
    _database(folder, _signer(folder), csrs, now, url).close()
    context = get_context("spawn")
    start, done = context.Barrier(workers + 1), context.Queue()
    processes = [context.Process(target=_work, args=(config, start, done)) for _ in range(workers)]
    for process in processes:
        process.start()
    start.wait()
    began = time.perf_counter()
    counts = [done.get() for _ in processes]
    seconds = time.perf_counter() - began
    for process in processes:
        process.join()
    assert sum(counts) == len(csrs), counts
    return len(csrs) / seconds, counts


def _show_workers(csrs: list[bytes], rounds: int) -> None:
    found: dict[int, list[float]] = {1: [], 2: []}
    with PostgresServer() as server, tempfile.TemporaryDirectory() as folder:
        for number in range(rounds):
            for workers, rates in found.items():
                place = Path(folder) / f"{number}-{workers}"
                rate, counts = _by_workers(server, place, csrs, workers)
                rates.append(rate)
                print(f"{workers} on PostgreSQL: {rate:.0f}/s, {counts}", flush=True)
    one, two = (statistics.median(found[workers]) for workers in (1, 2))
    print(f"two workers: {two:.0f}/s, one: {one:.0f}/s, {two / one:.2f} x (1.5 wanted)")


def _show(rates: dict[str, list[float]]) -> None:
    medians = {name: statistics.median(found) for name, found in rates.items()}
    table = Table(title="signatures per CPU second, RSA 2048, one core")
    for column in ("", "median", "min", "max", "of openssl speed", "wanted"):
        table.add_column(column, justify="left" if not column else "right")
    for name, found in rates.items():
        table.add_row(
            name,
            f"{medians[name]:.0f}",
            f"{min(found):.0f}",
            f"{max(found):.0f}",
            f"{medians[name] / medians['openssl']:.3f}",
            f"{WANTED[name]:.2f}" if name in WANTED else "",
        )
    Console(width=90).print(table)


if __name__ == "__main__":
    main()
