"""`serve` under load: instances that ask for work, beside a bare FastAPI endpoint with one query.

    python -m bench.serve [--instances 2000] [--rounds 5]

Both servers are processes of their own on loopback, on plain HTTP and SQLite; a third process asks
over keep-alive connections, each request signed by another instance. First as fast as it goes, the
two in turn (throughput, CPU, p99); then at the pace of 2,000 instances that ask once a minute (p99
as they would meet it); then ten minutes of polling, played as fast as it goes, with the memory of
the server after each minute. Ends by itself.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from rich.console import Console
from rich.table import Table
from sqlalchemy import insert

from bench.polling import Polled, get, poll
from lifecycle.vendor.access_models import InstanceCredential
from lifecycle.vendor.database import Database
from lifecycle.vendor.migrations import upgrade
from lifecycle.vendor.models import Certificate, Customer
from lifecycle.wire.signatures import RequestSigner

CONNECTIONS = 32
REQUESTS = 2_000
"""In one measured round."""
MINUTES = 10
HERTZ = os.sysconf("SC_CLK_TCK")

BARE = """\
import sys
import uvicorn
from fastapi import FastAPI
from sqlmodel import Session, select
from lifecycle.vendor.database import Database
from lifecycle.vendor.models import Customer

database = Database(sys.argv[1])
app = FastAPI()


@app.get("/one")
def one() -> dict[str, str]:
    with database.reading() as session:
        return {"name": session.exec(select(Customer).where(Customer.slug == "c000007")).one().name}


uvicorn.run(app, port=int(sys.argv[2]), log_config=None, access_log=False)
"""


def populate(directory: Path, instances: int) -> list[RequestSigner]:
    """A registry whose customers all have an active certificate and an enrolled instance."""
    (directory / "config.toml").write_text('[vendor]\ninstances = "distributed"\n')
    url = f"sqlite:///{directory / 'vendor.sqlite'}"
    upgrade(url)
    now = datetime.now(UTC)
    signers = []
    database = Database(url)
    with database.transaction() as session:
        customers, certificates, credentials = [], [], []
        for number in range(1, instances + 1):
            slug, signing = f"c{number:06}", Ed25519PrivateKey.generate()
            customers.append(
                {
                    "id": number,
                    "slug": slug,
                    "name": f"Customer {number}",
                    "email": f"it@{slug}.example",
                    "kind": "customer",
                    "created_at": now,
                    "remote": True,
                }
            )
            certificates.append(
                {
                    "customer_id": number,
                    "state": "active",
                    "topic": f"com.apple.mgmt.External.{number}",
                    "serial": f"{number:X}",
                    "common_name": f"APSP:{number}",
                    "issuer": "Bench",
                    "fingerprint": f"{number:064x}",
                    "key_fingerprint": f"{number:064x}",
                    "not_before": now,
                    "not_after": now + timedelta(days=300),
                    "der": b"",
                    "names_responder": False,
                    "recorded_at": now,
                    "activated_at": now,
                }
            )
            credentials.append(
                {
                    "id": f"{number:032x}",
                    "customer_id": number,
                    "public_key": signing.public_key().public_bytes_raw(),
                    "sealing_key": X25519PrivateKey.generate().public_key().public_bytes_raw(),
                    "created_at": now,
                    "seen_at": now,
                }
            )
            signers.append(RequestSigner(f"{number:032x}", signing))
        for table, rows in (
            (Customer, customers),
            (Certificate, certificates),
            (InstanceCredential, credentials),
        ):
            session.execute(insert(table), rows)
    database.close()
    return signers


@contextmanager
def server(command: Sequence[str], directory: Path) -> Iterator[subprocess.Popen[str]]:
    """A server's process, ended at the end of the block."""
    with (directory / "server.log").open("a") as log:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True)
    try:
        yield process
    finally:
        process.terminate()
        process.wait(30)


@contextmanager
def ours(directory: Path) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """`pushcert serve`, and its port."""
    config = str(directory / "config.toml")
    command = (sys.executable, "-m", "cli", "--config", config, "serve", "--port", "0")
    with server(command, directory) as process:
        assert process.stdout is not None
        url = json.loads(process.stdout.readline())["url"]
        yield process, int(url.rpartition(":")[2])


@contextmanager
def bare(directory: Path) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """The reference, and its port."""
    from bench.isolation import free_port

    script, port = directory / "bare.py", free_port()
    script.write_text(BARE)
    database = f"sqlite:///{directory / 'vendor.sqlite'}"
    with server((sys.executable, str(script), database, str(port)), directory) as process:
        for _ in range(200):
            if _answers(port):
                break
        yield process, port


def _answers(port: int) -> bool:
    import socket
    import time

    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1):
            return True
    except OSError:
        time.sleep(0.05)
        return False


def cpu_seconds(process: subprocess.Popen[str]) -> float:
    """What the process has used so far."""
    fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / HERTZ


def memory_mb(process: subprocess.Popen[str]) -> float:
    """What the process occupies."""
    for line in Path(f"/proc/{process.pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    raise ValueError("the kernel does not tell")


def questions(signers: Sequence[RequestSigner], count: int) -> list[bytes]:
    """So many requests, from one instance after the other; signed before the clock runs."""
    now = datetime.now(UTC)
    chosen = itertools.islice(itertools.cycle(signers), count)
    return [get("/v1/work", signer.sign("GET", "/v1/work", b"", now)) for signer in chosen]


def compare(directory: Path, signers: Sequence[RequestSigner], rounds: int) -> Table:
    """Both servers in turn, as fast as they go."""
    table = Table("as fast as it goes", "a second", "p50 ms", "p99 ms", "CPU ms each", "errors")
    runs: dict[str, list[tuple[Polled, float]]] = {"bare endpoint": [], "GET /v1/work": []}
    with ours(directory) as (our_process, our_port), bare(directory) as (its_process, its_port):
        for number in range(rounds + 1):  # the first warms up and does not count
            for name, process, port, wanted in (
                ("bare endpoint", its_process, its_port, [get("/one")] * REQUESTS),
                ("GET /v1/work", our_process, our_port, questions(signers, REQUESTS)),
            ):
                before = cpu_seconds(process)
                polled = poll(port, iter(wanted), CONNECTIONS)
                if number:
                    runs[name].append((polled, cpu_seconds(process) - before))
    medians = {}
    for name, found in runs.items():
        rate = statistics.median(polled.per_second for polled, _ in found)
        p50, p99 = (
            statistics.median(polled.quantile(share) for polled, _ in found) * 1000
            for share in (0.5, 0.99)
        )
        cpu = statistics.median(seconds for _, seconds in found) / REQUESTS * 1000
        errors = sum(polled.errors for polled, _ in found)
        medians[name] = (rate, p50, p99, cpu)
        table.add_row(name, f"{rate:.0f}", f"{p50:.1f}", f"{p99:.1f}", f"{cpu:.2f}", str(errors))
    shares = [
        ours_ / reference
        for ours_, reference in zip(medians["GET /v1/work"], medians["bare endpoint"], strict=True)
    ]
    table.add_row("ratio", *(f"{share:.2f}" for share in shares), "")
    return table


def at_pace(directory: Path, signers: Sequence[RequestSigner]) -> str:
    """p99 with as many requests under way as instances that ask once a minute would have."""
    # 2,000 a minute are 33 a second: with answers in milliseconds, one at a time.
    with ours(directory) as (process, port):
        poll(port, iter(questions(signers, 200)), 1)
        polled = poll(port, iter(questions(signers, len(signers))), 1)
        busy = polled.seconds
    share = busy / 60
    return (
        f"{len(signers)} instances, one question a minute each: p50"
        f" {polled.quantile(0.5) * 1000:.1f} ms, p99 {polled.quantile(0.99) * 1000:.1f} ms,"
        f" {polled.errors} errors; answering them takes {busy:.1f} s of each minute ({share:.0%} of"
        f" one core) [server process {process.pid}]"
    )


def ten_minutes(directory: Path, signers: Sequence[RequestSigner]) -> str:
    """Memory of the server after each simulated minute of polling."""
    occupied, errors = [], 0
    with ours(directory) as (process, port):
        for _ in range(MINUTES):
            errors += poll(port, iter(questions(signers, len(signers))), CONNECTIONS).errors
            occupied.append(memory_mb(process))
    told = " ".join(f"{mb:.0f}" for mb in occupied)
    return (
        f"{MINUTES} minutes of polling by {len(signers)} instances"
        f" ({MINUTES * len(signers)} requests): {errors} errors, memory in MB after each: {told}"
    )


def main() -> None:
    """Runs all three."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--instances", type=int, default=2_000)
    parser.add_argument("--rounds", type=int, default=5)
    wanted = parser.parse_args()
    out = Console()
    with tempfile.TemporaryDirectory() as folder:
        directory = Path(folder)
        signers = populate(directory, wanted.instances)
        out.print(compare(directory, signers, wanted.rounds))
        out.print(at_pace(directory, signers))
        out.print(ten_minutes(directory, signers))


if __name__ == "__main__":
    main()
