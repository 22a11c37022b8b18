"""A proxy before a PostgreSQL that cuts its connections when it is told to.

with CuttingProxy(server.socket) as proxy:
    url = proxy.url("vendor")
    proxy.cut()
"""

from __future__ import annotations

import socket
import threading
from pathlib import Path
from types import TracebackType
from typing import Self

CHUNK = 65_536


class CuttingProxy:
    """Listens on a port of loopback, and passes on to the server's socket.

    Args:
        server: the server's socket.

    Attributes:
        swallow: the answer to the next COMMIT does not come back: the connection is cut instead.
        swallowed: how often that happened.
    """

    def __init__(self, server: Path) -> None:
        self._server = server
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listening.getsockname()[1]
        self.swallow = False
        self.swallowed = 0
        self._lock = threading.Lock()
        self._pairs: set[tuple[socket.socket, socket.socket]] = set()
        self._thread = threading.Thread(target=self._accept, daemon=True)

    def __enter__(self) -> Self:
        """Begins to serve."""
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stops, and cuts what is left."""
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        self._thread.join()
        self.cut()

    def url(self, database: str) -> str:
        """Of a database behind it, for SQLAlchemy."""
        return f"postgresql+psycopg://postgres@127.0.0.1:{self.port}/{database}"

    def cut(self) -> int:
        """Cuts every connection there is; gives how many there were."""
        with self._lock:
            pairs = list(self._pairs)
        for pair in pairs:
            self._end(pair)
        return len(pairs)

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listening.accept()
            except OSError:
                return
            server = socket.socket(socket.AF_UNIX)
            try:
                server.connect(str(self._server))
            except OSError:
                client.close()  # as a server that is away
                server.close()
                continue
            pair = (client, server)
            with self._lock:
                self._pairs.add(pair)
            for source, target in (pair, pair[::-1]):
                threading.Thread(
                    target=self._pass_on, args=(source, target, pair), daemon=True
                ).start()

    def _pass_on(
        self,
        source: socket.socket,
        target: socket.socket,
        pair: tuple[socket.socket, socket.socket],
    ) -> None:
        try:
            while data := source.recv(CHUNK):
                if self.swallow and source is pair[1] and b"COMMIT\x00" in data:
                    # The server says that it has committed, and nobody hears it.
                    self.swallow = False
                    self.swallowed += 1
                    break
                target.sendall(data)
        except OSError:
            pass  # cut, from one side or the other
        finally:
            self._end(pair)

    def _end(self, pair: tuple[socket.socket, socket.socket]) -> None:
        with self._lock:
            self._pairs.discard(pair)
        for end in pair:
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue  # it has ended already
            finally:
                end.close()
