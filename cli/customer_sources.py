"""Where ``customer import`` finds customers beside a list: folders, dumps, MDM servers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from cli.invocation import read_file, write_file
from lifecycle.errors import Unavailable, refuse

if TYPE_CHECKING:
    from datetime import datetime

    from sqlmodel import Session

    from lifecycle.mdm_servers.server import Reach
    from lifecycle.vendor.bad_rows import BadRow
    from lifecycle.vendor.customer_file import Row
    from lifecycle.vendor.found_certificates import Found


@dataclass(frozen=True)
class Server:
    """An MDM server to ask, as the options name it."""

    nanomdm: str | None
    zentral: str | None
    api_key: str | None
    ca_file: Path | None
    topics: tuple[str, ...]

    @property
    def is_given(self) -> bool:
        """True if a server is to be asked."""
        return self.nanomdm is not None or self.zentral is not None

    def access(self) -> tuple[Reach, Callable[[], bytes]]:
        """How it is reached, and its key. Raises what reading the key raises."""
        from lifecycle.mdm_servers.server import Reach
        from lifecycle.passphrase import parse_source, resolve

        if (self.nanomdm is None) == (self.zentral is None):
            raise typer.BadParameter("give --nanomdm or --zentral")
        if self.api_key is None:
            raise typer.BadParameter("--api-key-from says where the server's API key comes from")
        key = resolve(parse_source(self.api_key)) or b""
        return Reach(self.nanomdm or self.zentral or "", self.ca_file), lambda: key


def found_in(file: Path) -> list[Found] | None:
    """The certificates in a folder or a dump; None for a list of customers.

    Raises:
        Refused: ``certificates_missing``, or as reading the files.
    """
    from lifecycle.mdm_servers.sql_dump import is_dump
    from lifecycle.vendor.found_certificates import Found, in_dump, name_of_file

    if file.is_dir():
        paths = sorted(path for path in file.rglob("*.pem") if path.name.upper().startswith("MDM_"))
        if not paths:
            raise refuse(
                "certificates_missing",
                f"There is no file MDM_…_Certificate.pem in {file} or below it.",
                "Name the folder that the portal's files are in.",
            )
        return [
            Found(
                str(path.relative_to(file)),
                name_of_file(path.stem, "" if path.parent == file else path.parent.name),
                read_file(path),
            )
            for path in paths
        ]
    if file.suffix.lower() == ".sql" and is_dump(data := read_file(file)):
        return in_dump(data)
    return None


def found_at(server: Server) -> list[Found]:
    """The certificates that Zentral has. Raises ``Refused``, ``Unavailable``."""
    from lifecycle.mdm_servers.zentral import Zentral
    from lifecycle.vendor.found_certificates import Found

    return [
        Found(one.name or one.topic, one.name or one.topic, one.pem.encode())
        for one in Zentral(*server.access()).certificates()
        if one.pem is not None
    ]


def compared_with(server: Server, session: Session) -> tuple[int, list[BadRow]]:
    """What NanoMDM says of the registry's topics, and of those that are named, held against it.

    Raises:
        Refused, Unavailable: it cannot be asked.
    """
    from lifecycle.mdm_servers.nanomdm import NanoMdm
    from lifecycle.mdm_servers.server import ServerFailing
    from lifecycle.vendor.found_certificates import active_ends, compare_ends, slugs_by_topic

    reach, key = server.access()
    client, ends = NanoMdm(reach, key), active_ends(session)
    said: list[tuple[str, datetime | None]] = []
    for topic in dict.fromkeys((*server.topics, *(() if server.topics else ends))):
        try:
            found = client.get(topic)
        except ServerFailing:
            said.append((topic, None))  # its answer to a topic that it does not have
            continue
        if found is None:
            raise Unavailable(
                f"NanoMDM at {reach.host} is of a version that cannot say what it has.",
                "Upgrade it, or import a dump of its table push_certs.",
            )
        said.append((topic, found.not_after))
    return compare_ends(reach.host, said, slugs_by_topic(session), ends)


def write_draft(rows: Sequence[Row], data: dict[str, bytes], out: Path) -> None:
    """Writes the list with the certificates in a folder beside it.

    Raises:
        Refused: ``file_unwritable``.
    """
    from dataclasses import replace

    from lifecycle.vendor.customer_file import write_csv

    folder = out.with_name(f"{out.stem}-certificates")
    folder.mkdir(parents=True, exist_ok=True)
    drafted = []
    for row in rows:
        path = folder / f"MDM_{row.slug}_Certificate.pem"
        write_file(path, data[row.certificate])
        drafted.append(replace(row, certificate=f"{folder.name}/{path.name}"))
    write_file(out, "".join(write_csv(drafted)).encode())
