"""Dumps that mysqldump and pg_dump really wrote, and files that are none."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lifecycle.errors import Refused
from lifecycle.mdm_servers.sql_dump import is_dump, rows
from lifecycle.pki.upload import read_upload

DUMPS = Path(__file__).with_name("dumps")
VECTOR = Path(__file__).parents[1] / "vectors" / "MDM_ Example MDM_Certificate.pem"
ENROLLMENTS = ("enrollments", "nano_enrollments")
CERTIFICATES = ("push_certs", "nano_push_certs")
EVERY = ["mysqldump.sql", "mysqldump-complete.sql", "pg_dump.sql", "pg_dump-inserts.sql"]
WHOLE = [name for name in EVERY if "complete" not in name]
ODD = "It's (a), \"magic\" \\ word; VALUES ('x')"


@pytest.mark.parametrize("name", EVERY)
def test_every_row_comes_back_as_it_was_put_in(name: str) -> None:
    data = (DUMPS / name).read_bytes()
    assert is_dump(data)
    found = list(rows(data, ENROLLMENTS, ("id", "push_magic", "enabled", "user_id")))
    assert [row["id"] for row in found] == [
        "470E005B-17C1-4537-BBB3-0EBC340D432A",
        "470E005B-17C1-4537-BBB3-0EBC340D432A:F151140B-3988-45A9-9471-E96B49F27D93",
        "8b3b8ba3783e9ade1dae4fbb944ab3afc0ce5b69",
        "b318edb72b556059a013368e3150050c5f74a2c6",
    ]
    assert found[1]["push_magic"] == ODD
    assert found[0]["user_id"] is None
    assert [row["enabled"] in ("1", "t", "true") for row in found] == [True, True, False, True]


@pytest.mark.parametrize("name", WHOLE)
def test_a_certificate_with_its_lines_comes_back(name: str) -> None:
    (row,) = rows((DUMPS / name).read_bytes(), CERTIFICATES, ("topic", "cert_pem"))
    assert row["cert_pem"] is not None
    found = read_upload(row["cert_pem"].encode()).certificate
    assert found.fingerprint == read_upload(VECTOR.read_bytes()).certificate.fingerprint
    assert row["topic"] == found.topic
    assert set(row) == {"topic", "cert_pem"}, "the key stays where it is"


def test_a_table_that_is_not_there_is_named() -> None:
    with pytest.raises(Refused) as refused:
        list(rows((DUMPS / "mysqldump-complete.sql").read_bytes(), CERTIFICATES, ("topic",)))
    assert refused.value.codes == ("dump_table_missing",)
    assert "push_certs" in str(refused.value)


def test_without_column_names_and_create_table_it_says_what_is_missing() -> None:
    with pytest.raises(Refused) as refused:
        list(rows(b"INSERT INTO `enrollments` VALUES ('a','b');\n", ENROLLMENTS, ("id",)))
    assert refused.value.codes == ("dump_columns_unknown",)


@pytest.mark.parametrize(
    "values", ["('a'", "('a','b');", "('a", "(a b);", "('a')(", "('a'|", "(,);"]
)
def test_a_damaged_row_is_refused(values: str) -> None:
    data = f"INSERT INTO enrollments (id) VALUES {values}".encode()
    assert [row for row in taken(data) if isinstance(row, dict) and row != {"id": "a"}] == []


def taken(data: bytes) -> list[dict[str, str | None] | str]:
    """The rows of a dump, then the code of its refusal if it was refused."""
    found: list[dict[str, str | None] | str] = []
    try:
        found += rows(data, (*ENROLLMENTS, *CERTIFICATES), ("id", "topic"))
    except Refused as refused:
        found.append(refused.codes[0])
    return found


@settings(deadline=None)
@given(st.binary(max_size=400), st.sampled_from(EVERY), st.integers(0, 8000))
def test_no_file_makes_it_fail_otherwise(junk: bytes, name: str, at: int) -> None:
    whole = (DUMPS / name).read_bytes()
    data = whole[:at] + junk + whole[at:]
    for one in taken(data):
        assert one.startswith("dump_") if isinstance(one, str) else set(one) <= {"id", "topic"}


@pytest.mark.parametrize(
    "data",
    [b"", b"udid,token,push_magic\n", b"<?xml version='1.0'?><plist/>", b"{}", VECTOR.read_bytes()],
)
def test_other_files_are_not_taken_for_dumps(data: bytes) -> None:
    assert not is_dump(data)
