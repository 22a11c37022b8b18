"""Dumps of NanoMDM's database, of ``mysqldump`` and ``pg_dump``."""

from __future__ import annotations

from fuzz.harness import refusals
from fuzz.harnesses import device_file
from lifecycle.mdm_servers.sql_dump import is_dump, rows
from lifecycle.vendor.found_certificates import as_rows, in_dump

PARSERS = (
    "lifecycle.mdm_servers.sql_dump.rows",
    "lifecycle.mdm_servers.sql_dump.is_dump",
    "lifecycle.vendor.found_certificates.in_dump",
    "lifecycle.vendor.found_certificates.as_rows",
)
LONGEST = 8192
WEIGHT = 3
_COLUMNS = ("id", "topic", "token_hex", "cert_pem")


def one(data: bytes) -> None:
    """Rows with no column but those that were asked for."""
    is_dump(data)
    with refusals():
        for row in rows(data, ("enrollments", "push_certs"), _COLUMNS):
            assert set(row) <= set(_COLUMNS)
    with refusals():
        as_rows(in_dump(data), {}, {}, "it@example.com")


def seeds() -> dict[str, bytes]:
    """As the device files, and a table of certificates."""
    made = device_file.seeds()
    return {
        "mysql": made["mysql"],
        "postgres": made["postgres"],
        "inserts": b"-- PostgreSQL database dump\nINSERT INTO public.push_certs (topic, cert_pem)"
        b" VALUES ('com.apple.mgmt.x', E'a''b'), (NULL, -1);\n",
        "unfinished": b"CREATE TABLE enrollments (\n id int\nCOPY enrollments (id) FROM stdin;\n1",
    }
