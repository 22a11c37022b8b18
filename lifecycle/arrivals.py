"""Certificates that arrive in a folder of downloads: which of the files is the one waited for.

It is told by its key, whatever the file is called: no other customer's certificate, and none of
an earlier renewal, has the key of this renewal's CSR.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from lifecycle.errors import Refused
from lifecycle.pki.csr import read_csr
from lifecycle.pki.fingerprints import Fingerprint
from lifecycle.pki.upload import read_upload
from lifecycle.vendor import store
from lifecycle.vendor.database import Database

CERTIFICATE_ENDINGS = (".pem", ".cer", ".crt")
LARGEST_CERTIFICATE = 1 << 20
"""Bytes; a file in a watched folder that is larger is none from the portal."""
LOOKED_AT = 200
"""Of a watched folder at most so many files are looked at, the newest first."""


@dataclass(frozen=True, slots=True)
class Found:
    """What a look into the watched folders gave.

    Attributes:
        fitting: a certificate made for this renewal's key; None if there is none.
        looked_like: the newest file that is named as the portal names its files, and is not
            for this renewal.
        looked_at: how many files were read.
    """

    fitting: Path | None
    looked_like: Path | None
    looked_at: int


def awaited_key(database: Database, slug: str) -> Fingerprint | None:
    """The key of the open renewal's CSR: the certificate that is waited for has it.

    Raises:
        Refused: ``customer_unknown``.
    """
    with database.reading() as session:
        renewal = store.open_renewal(session, store.customer_by_slug(session, slug))
        csr = None if renewal is None else renewal.csr
    return None if csr is None else read_csr(csr).key_fingerprint


def look_for_certificate(key: Fingerprint | None, folders: Iterable[Path]) -> Found:
    """Looks once for the certificate with this key."""
    files = sorted(_files(folders), reverse=True)[:LOOKED_AT]
    looked_like = None
    for *_, path in files:
        if _has_key(path, key):
            return Found(path, None, len(files))
        if looked_like is None and path.name.startswith("MDM_"):
            looked_like = path
    return Found(None, looked_like, len(files))


@dataclass(slots=True)
class Arrivals:
    """Looks again and again; each file is read when it is new or has changed, and given once.

    Attributes:
        key: of the certificate that is waited for.
        folders: where it may arrive.
    """

    key: Fingerprint | None
    folders: Sequence[Path]
    _seen: set[tuple[float, int, Path]] = field(default_factory=set, repr=False)

    def look(self) -> Path | None:
        """The certificate, if it has arrived since the last look."""
        new = sorted(set(_files(self.folders)) - self._seen, reverse=True)[:LOOKED_AT]
        self._seen.update(new)
        return next((path for *_, path in new if _has_key(path, self.key)), None)


def _has_key(path: Path, key: Fingerprint | None) -> bool:
    try:
        return read_upload(path.read_bytes()).certificate.key_fingerprint == key
    except (Refused, OSError):
        return False  # no certificate, or half of one, and so not the one that is waited for


def _files(folders: Iterable[Path]) -> Iterable[tuple[float, int, Path]]:
    for folder in folders:
        if not folder.is_dir():
            continue
        for path in folder.iterdir():
            if path.suffix.lower() not in CERTIFICATE_ENDINGS or not path.is_file():
                continue
            try:
                about = path.stat()
            except FileNotFoundError:
                continue  # renamed or removed a moment ago
            if about.st_size <= LARGEST_CERTIFICATE:
                yield about.st_mtime, about.st_size, path
