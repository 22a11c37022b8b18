"""Import and export: every bad row is named, nothing is half done, and again changes nothing."""

from __future__ import annotations

import gc
import json
import tracemalloc
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from io import BytesIO
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import example, given
from hypothesis import strategies as st
from sqlmodel import func, select

from bench.keys import keys
from lifecycle.errors import Refused, Severity, refuse
from lifecycle.lab.authority import Authority
from lifecycle.lab.clock import LabClock
from lifecycle.vendor import audit, bulk
from lifecycle.vendor.audit import latest, verify_log
from lifecycle.vendor.bad_rows import BadRows
from lifecycle.vendor.bulk import ImportOutcome, exported, import_customers
from lifecycle.vendor.customer_file import Row, Rows, as_documents, read_customers, write_csv
from lifecycle.vendor.database import Database
from lifecycle.vendor.migrations import upgrade
from lifecycle.vendor.models import Certificate, Customer

NOW = datetime(2027, 3, 1, 9, tzinfo=UTC)


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    made = Database(database_url)
    yield made
    made.close()


def no_file(path: Path) -> bytes:
    raise refuse("file_unreadable", f"{path} cannot be read.", "Check the path.")


def load(
    database: Database,
    data: str,
    *,
    form: str = "csv",
    keep_going: bool = False,
    update: bool = False,
    dry_run: bool = False,
    read: Callable[[Path], bytes] = no_file,
) -> ImportOutcome:
    return load_rows(
        database,
        read_customers(BytesIO(data.encode()), form),
        keep_going=keep_going,
        update=update,
        dry_run=dry_run,
        read=read,
    )


def load_rows(
    database: Database,
    rows: Rows,
    *,
    keep_going: bool = False,
    update: bool = False,
    dry_run: bool = False,
    read: Callable[[Path], bytes] = no_file,
) -> ImportOutcome:
    return import_customers(
        database,
        rows,
        read_certificate=read,
        keep_going=keep_going,
        update=update,
        dry_run=dry_run,
        at=NOW,
        actor="operator:anna",
    )


def count(database: Database) -> int:
    with database.reading() as session:
        return session.exec(select(func.count()).select_from(Customer)).one()


def dump(database: Database) -> str:
    return "".join(write_csv(exported(database, offboarded=False, tags=(), save_certificate=None)))


@pytest.fixture(scope="module")
def certificates() -> dict[str, bytes]:
    """Certificates by the path that the rows name."""
    clock = LabClock(NOW - timedelta(days=30))
    authority = Authority(clock, 1)
    made = {}
    for number, key in enumerate(keys(300)):
        issued = authority.issue_push_certificate(
            key.public_key(), f"com.apple.mgmt.External.{number:032x}"
        )
        made[f"{number}.pem"] = issued.public_bytes(Encoding.PEM)
    return made


def test_ten_thousand_rows_of_which_one_in_a_hundred_is_bad(
    database: Database, certificates: dict[str, bytes]
) -> None:
    def row(number: int) -> str:
        if number % 100 == 50:
            return f"NOT A SLUG {number},,nowhere,,"
        file = f"{number}.pem" if number < 300 else ""
        return f"c-{number},Customer {number},it@c{number}.example,push@c{number}.example,{file}"

    text = "slug,name,email,apple_account,certificate\n" + "\n".join(map(row, range(10_000)))

    def read(path: Path) -> bytes:
        return certificates[str(path)]

    with pytest.raises(BadRows) as refused:
        load(database, text, read=read)
    assert [bad.line for bad in refused.value.rows] == [n + 2 for n in range(50, 10_000, 100)]
    assert {tuple(f.code for f in bad.findings) for bad in refused.value.rows} == {
        ("slug_malformed", "name_missing", "email_malformed")
    }
    assert "Line 52: " in str(refused.value)
    assert count(database) == 0

    outcome = load(database, text, read=read, keep_going=True)
    assert (outcome.added, outcome.unchanged, len(outcome.bad)) == (9900, 0, 100)
    assert count(database) == 9900
    with database.reading() as session:
        assert session.exec(select(func.count()).select_from(Certificate)).one() == 297
        log = verify_log(session)
        assert log.problem is None

    again = load(database, text, read=read, keep_going=True)
    assert (again.added, again.changed, again.unchanged, len(again.bad)) == (0, 0, 9900, 100)
    with database.reading() as session:
        assert verify_log(session).head == log.head, "something was written"


def test_what_is_exported_can_be_imported_and_gives_the_same_export(
    database: Database, tmp_path: Path
) -> None:
    load(
        database,
        "slug,name,email,apple_account,contacts,language,tags,notes\n"
        "acme,=Acme,it@acme.example,,a@acme.example;b@acme.example,de,region:emea x,\n"
        'globex,"Globex, Inc.",it@globex.example,push@globex.example,,,,'
        '"two\nlines, and ""more"""\n',
    )
    first = dump(database)
    assert "'=Acme" in first
    rows = list(exported(database, offboarded=False, tags=(), save_certificate=None))
    for form, text in (("csv", first), ("json", json.dumps(list(as_documents(rows))))):
        url = f"sqlite:///{tmp_path / form}.sqlite"
        upgrade(url)
        other = Database(url)
        assert load(other, text, form=form).added == 2
        assert dump(other) == first
        other.close()
    assert load(database, first).unchanged == 2


def test_a_customer_that_is_recorded_otherwise_is_changed_only_when_told(
    database: Database,
) -> None:
    load(database, "slug,name,email,tags\nacme,Acme,it@acme.example,old\n")
    other = "slug,name,email,tags\nacme,Acme Corp,it@acme.example,new\n"
    with pytest.raises(Refused) as refused:
        load(database, other)
    assert refused.value.codes == ("customer_differs",)
    assert "with other name, tags" in str(refused.value)
    assert load(database, other, update=True).changed == 1
    assert "Acme Corp" in dump(database)
    assert ",new," in dump(database)
    assert load(database, other).unchanged == 1


def test_a_column_that_the_file_has_not_is_left_as_it_is(database: Database) -> None:
    load(database, "slug,name,email,language\nacme,Acme,it@acme.example,de\n")
    assert load(database, "slug,name,email\nacme,Acme,it@acme.example\n").unchanged == 1


def test_one_slug_twice_names_both_lines(database: Database) -> None:
    rows = "slug,name,email\na,A,it@a.example\nb,B,it@b.example\na,Other,it@a.example\n"
    with pytest.raises(Refused) as refused:
        load(database, rows)
    assert refused.value.codes == ("slug_twice",)
    assert "Line 4: 'a' is in line 2 as well" in str(refused.value)
    same = "slug,name,email\na,A,it@a.example\na,A,it@a.example\n"
    assert load(database, same).unchanged == 1


def test_a_slug_twice_is_found_however_far_apart_and_only_good_rows_count(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bulk, "BATCH", 2)
    between = "".join(f"c-{n},C,it@c.example\n" for n in range(5))
    rows = f"slug,name,email\na,,it@a.example\na,A,it@a.example\n{between}a,Other,it@a.example\n"
    outcome = load(database, rows + "a,A,it@a.example\n", keep_going=True)
    assert (outcome.added, outcome.unchanged) == (6, 1)
    assert [(bad.line, bad.findings[0].code) for bad in outcome.bad] == [
        (2, "name_missing"),
        (9, "slug_twice"),
    ]
    assert "line 3" in [*outcome.bad][1].findings[0].message


@pytest.mark.parametrize("bad", [False, True])
def test_more_rows_take_hardly_more_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bad: bool
) -> None:
    monkeypatch.setattr(audit, "WRITTEN", 500)

    def peak(count: int) -> int:
        url = f"sqlite:///{tmp_path / str(count)}.sqlite"
        upgrade(url)
        database = Database(url)
        file = tmp_path / "customers.csv"
        with file.open("w") as text:
            text.write("slug,name,email,apple_account\n")
            for n in range(count):
                email = "nowhere" if bad else f"it@c{n}.example"
                text.write(f"c-{n},Customer {n},{email},push@c{n}.example\n")
        with file.open("rb") as data:
            gc.disable()  # so that what would be garbage for long counts, too
            tracemalloc.start()
            try:
                outcome = import_customers(
                    database,
                    read_customers(data, "csv"),
                    read_certificate=no_file,
                    keep_going=True,
                    at=NOW,
                    actor="operator:anna",
                )
                most = tracemalloc.get_traced_memory()[1]
            finally:
                tracemalloc.stop()
                gc.enable()
        assert (outcome.added, len(outcome.bad)) == ((0, count) if bad else (count, 0))
        database.close()
        return most

    peak(600)  # what is made once
    each = (peak(4_000) - peak(1_500)) / 2_500
    assert each < 60, f"{each:.0f} bytes more for each row"


def test_a_refusal_carries_the_findings_of_two_hundred_bad_rows_and_has_them_all(
    database: Database,
) -> None:
    rows = "".join(f"BAD {n},N,it@n.example\n" for n in range(1200))
    with pytest.raises(BadRows) as refused:
        load(database, "slug,name,email\n" + rows)
    assert len(refused.value.findings) == 200
    assert [bad.line for bad in refused.value.rows] == list(range(2, 1202))
    assert {bad.findings[0].severity for bad in refused.value.rows} == {Severity.REFUSE}


def test_what_is_logged_of_an_import_is_in_the_order_of_the_rows(
    database: Database, certificates: dict[str, bytes]
) -> None:
    load(database, "slug,name,email,notes\nold,Old,it@o.example,before\n")
    rows = [f"c-{n},C,it@c.example,,\n" for n in range(1200)]
    rows.insert(1000, "old,Old,it@o.example,after,0.pem\n")  # begins a batch
    load(
        database,
        "slug,name,email,notes,certificate\n" + "".join(rows),
        read=lambda path: certificates[str(path)],
        update=True,
    )
    with database.reading() as session:
        assert verify_log(session).problem is None
        entries = latest(session, 1202)
    said = [(entry.action, entry.subject) for entry in entries]
    assert said[1000:1002] == [("customer_edited", "old"), ("certificate_adopted", "old")]
    assert entries[1000].detail == {"notes": ["before", "after"]}
    assert said[:1000] + said[1002:] == [("customer_added", f"c-{n}") for n in range(1200)]


@pytest.mark.parametrize("more", ["", "b,B,it@b.example\n", "b,B\n\n"])
def test_a_file_that_is_changed_while_it_is_read_is_refused_and_nothing_is_imported(
    database: Database, tmp_path: Path, more: str
) -> None:
    file = tmp_path / "customers.csv"
    file.write_text("slug,name,email\na,A,it@a.example\n")
    with file.open("rb") as data:
        rows = read_customers(data, "csv")
        file.write_text(f"slug,name,email\n{more}")
        with pytest.raises(Refused) as refused:
            load_rows(database, rows)
    assert refused.value.codes == ("file_changed",)
    assert count(database) == 0


def test_rows_that_are_given_up_half_way_leave_the_file_open_and_do_not_miss_it(
    tmp_path: Path,
) -> None:
    file = tmp_path / "customers.csv"
    file.write_text("slug,name,email\na,A,it@a.example\nb,B,it@b.example\n")
    with file.open("rb") as data:
        rows = read_customers(data, "csv")
        next(iter(rows))
        assert [row.slug for row in rows] == ["a", "b"]
        left = iter(rows)
        next(left)
    del left  # pytest turns into an error what is raised here


def test_a_file_that_is_no_text_any_more_is_refused(database: Database) -> None:
    data = BytesIO(b"slug,name,email\na,A,it@a.example\n")
    rows = read_customers(data, "csv")
    data.seek(16)
    data.write(b"\xff")
    with pytest.raises(Refused) as refused:
        load_rows(database, rows)
    assert refused.value.codes == ("csv_not_utf8",)


def test_a_file_that_cannot_be_read_to_its_end_is_refused(database: Database) -> None:
    class Broken(BytesIO):
        broken = False

        def read(self, size: int | None = -1, /) -> bytes:
            if self.broken:
                raise OSError(5, "Input/output error")
            return super().read(size)

        read1 = read

    data = Broken(b"slug,name,email\na,A,it@a.example\n")
    rows = read_customers(data, "csv")
    data.broken = True
    for read in (lambda: load_rows(database, rows), lambda: read_customers(data, "json")):
        with pytest.raises(Refused) as refused:
            read()
        assert refused.value.codes == ("file_unreadable",)
        assert "Input/output error" in str(refused.value)


def test_one_certificate_for_two_rows_names_both_customers(
    database: Database, certificates: dict[str, bytes]
) -> None:
    rows = (
        "slug,name,email,certificate\na,A,it@a.example,0.pem\nb,B,it@b.example,0.pem\n"
        "c,C,it@c.example,1.pem\n"
    )

    def read(path: Path) -> bytes:
        return certificates[str(path)]

    outcome = load(database, rows, read=read, keep_going=True)
    assert outcome.added == 2
    ((bad),) = outcome.bad
    assert bad.line == 3
    assert "topic_of_another_customer" in [finding.code for finding in bad.findings]
    assert "'a'" in bad.findings[0].message
    assert count(database) == 2, "the bad row's customer must not stay without its certificate"


def test_a_dry_run_says_what_would_be_and_writes_nothing(database: Database) -> None:
    outcome = load(database, "slug,name,email\na,A,it@a.example\n", dry_run=True)
    assert outcome.added == 1
    assert count(database) == 0


@pytest.mark.parametrize(
    ("data", "form", "code"),
    [
        ("slug,name\na,b\n", "csv", "csv_columns_wrong"),
        ("slug,name,email,phone\n", "csv", "csv_columns_wrong"),
        ('slug,name,email\n"a', "csv", "csv_malformed"),
        ("{", "json", "json_malformed"),
        ("[" * 100_000, "json", "json_malformed"),
        ('{"a": 1}', "json", "json_no_list"),
        ('["a"]', "json", "json_no_list"),
        ('[{"slug": "a"}]', "json", "csv_columns_wrong"),
    ],
)
def test_what_is_no_list_of_customers_is_refused(
    database: Database, data: str, form: str, code: str
) -> None:
    with pytest.raises(Refused) as refused:
        load(database, data, form=form)
    assert refused.value.codes == (code,)


@pytest.mark.parametrize(
    ("rows", "line"),
    [
        ('slug,"name', 1),
        ('slug,name,email\n"a', 2),
        ('slug,name,email\n\na,A,it@a.example\n\nb,"B"x,it@b.example\nc,C,it@c.example\n', 5),
        ('slug,name,email\na,"A\nA",it@a.example\nb,"B,it@b.example\nc,C,it@c.example\n', 4),
    ],
)
def test_what_is_no_csv_is_named_by_the_line_that_its_row_begins_in(rows: str, line: int) -> None:
    with pytest.raises(Refused) as refused:
        read_customers(BytesIO(rows.encode()), "csv")
    assert f"Line {line} is not CSV" in str(refused.value)


@pytest.mark.parametrize(
    ("column", "value", "code"),
    [
        ("language", "tlh", "language_unknown"),
        ("tags", "Not!A!Tag", "tag_malformed"),
        ("contacts", "nobody", "email_malformed"),
        ("certificate", "missing.pem", "file_unreadable"),
    ],
)
def test_every_column_is_checked(database: Database, column: str, value: str, code: str) -> None:
    with pytest.raises(Refused) as refused:
        load(database, f"slug,name,email,{column}\na,A,it@a.example,{value}\n")
    assert refused.value.codes == (code,)


words = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r"), max_size=40)


@given(words, st.from_regex(r"'{0,3}[=+@-].{0,5}", fullmatch=True))
@example("name", "'=formula")
def test_any_words_survive_the_way_through_a_file(name: str, notes: str) -> None:
    row = Row(2, "a", name.strip(), "it@a.example", notes=notes.replace("\r", "").strip())
    (back,) = read_customers(BytesIO("".join(write_csv([row])).encode()), "csv")
    assert (back.name, back.notes) == (row.name, row.notes)
    (back,) = read_customers(BytesIO(json.dumps(list(as_documents([row]))).encode()), "json")
    assert (back.name, back.notes) == (row.name, row.notes)


def test_the_canary_tenant_stays_what_it_is_on_its_way_through_a_file(
    database: Database, tmp_path: Path
) -> None:
    text = "slug,name,email,kind\nours,Ours,it@v.example,canary\nacme,Acme,it@a.example,\n"
    load(database, text)
    url = f"sqlite:///{tmp_path / 'other.sqlite'}"
    upgrade(url)
    other = Database(url)
    assert load(other, dump(database)).added == 2
    with other.reading() as session:
        kinds = {row.slug: row.kind for row in session.exec(select(Customer))}
    other.close()
    assert kinds == {"ours": "canary", "acme": "customer"}
    assert load(database, dump(database)).unchanged == 2


@pytest.mark.parametrize(("kind", "code"), [("mayor", "kind_unknown"), ("customer", "kind_fixed")])
def test_a_kind_is_checked_and_never_changed(database: Database, kind: str, code: str) -> None:
    load(database, "slug,name,email,kind\nours,Ours,it@v.example,canary\n")
    with pytest.raises(BadRows) as refused:
        load(database, f"slug,name,email,kind\nours,Ours,it@v.example,{kind}\n", update=True)
    assert refused.value.codes == (code,)
