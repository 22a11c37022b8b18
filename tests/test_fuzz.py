"""The fuzzing harnesses hold for their seeds and for what hypothesis makes of them.

The same properties under atheris, for millions of inputs: ``python -m fuzz.campaign``.
"""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fuzz.campaign import Tally, add, shares, table
from fuzz.harness import CORPUS, Harness, corpus, load, names
from fuzz.twist import twisted

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "fuzz" / "README.md").read_text()
EXAMPLES = 250
COSTLY = frozenset({"adoption", "keys", "pkcs12", "kinds", "upload"})
"""Where an intact key or a chain is checked again and again."""


@st.composite
def mutations(draw: st.DrawFn, seeds: list[bytes], longest: int) -> bytes:
    """A seed with pieces cut out, put in, doubled or changed; now and then other bytes."""
    data = bytearray(draw(st.sampled_from(seeds)))
    for _ in range(draw(st.integers(0, 4))):
        at = draw(st.integers(0, len(data)))
        match draw(st.integers(0, 4)):
            case 0:
                del data[at : at + draw(st.integers(1, 64))]
            case 1:
                data[at:at] = draw(st.binary(min_size=1, max_size=16))
            case 2:
                data[at : at + 1] = draw(st.binary(min_size=1, max_size=1))
            case 3:
                data[at:at] = data[at : at + draw(st.integers(1, 64))]
            case _:
                other = draw(st.sampled_from(seeds))
                data[at:] = other[draw(st.integers(0, len(other))) :]
    return bytes(data[:longest])


@pytest.fixture(scope="module", params=names())
def harness(request: pytest.FixtureRequest) -> Harness:
    """Each harness, loaded."""
    return load(request.param)


@pytest.mark.filterwarnings("ignore")
def test_every_seed_of_the_corpus_passes(harness: Harness) -> None:
    for seed in corpus(harness.name):
        harness.one(seed)


@pytest.mark.filterwarnings("ignore")
def test_what_becomes_of_a_seed_by_mutation_passes(harness: Harness) -> None:
    seeds = corpus(harness.name)
    examples = EXAMPLES // 5 if harness.name in COSTLY else EXAMPLES

    @settings(
        max_examples=examples,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
        database=None,
    )
    @given(mutations(seeds, harness.longest))
    def passes(data: bytes) -> None:
        harness.one(data)

    passes()


def test_the_corpus_has_every_seed_that_the_harness_makes(harness: Harness) -> None:
    there = {path.name for path in (CORPUS / harness.name).iterdir()}
    assert set(harness.seeds()) <= there, f"run `python -m fuzz.seeds {harness.name}`"


def test_every_parser_of_a_harness_exists_and_is_in_the_table(harness: Harness) -> None:
    row = re.search(rf"^\| `{harness.name}` \|(.*)$", README, re.MULTILINE)
    assert row is not None, f"fuzz/README.md has no row for {harness.name}"
    for parser in harness.parsers:
        assert f"`{parser.removeprefix('lifecycle.')}`" in row[1]
        assert _found(parser) is not None, parser


def _found(dotted: str) -> object:
    parts = dotted.split(".")
    for length in range(len(parts) - 1, 0, -1):
        try:
            found: object = importlib.import_module(".".join(parts[:length]))
        except ModuleNotFoundError:
            continue
        for name in parts[length:]:
            found = getattr(found, name)
        return found
    raise ModuleNotFoundError(dotted)


def test_every_row_of_the_table_has_a_harness_that_covers_its_parsers() -> None:
    for name, cells in re.findall(r"^\| `(\w+)` \|.*\|(.*)\|$", README, re.MULTILINE):
        parsers = {f"lifecycle.{parser}" for parser in re.findall(r"`([\w.]+)`", cells)}
        assert parsers == set(load(name).parsers), name


READS_BYTES = re.compile(
    r"json\.loads\(|plistlib\.loads\(|b64decode\(|tomllib\.loads\(|csv\.(?:Dict)?[rR]eader\("
    r"|fromisoformat\(|load_(?:der|pem)_\w+\(|load_key_and_certificates\(|model_validate_json\("
)


@pytest.fixture(autouse=True)
def every_code_is_documented() -> None:
    """Not here: what was twisted may name a code that there is not, as a foreign vendor might."""


OURS = {
    "lifecycle/apns/identity.py": "the vault's own certificate, as it was sealed",
    "lifecycle/config.py": "the digest's and quiet hours' times, behind a pattern",
    "lifecycle/instance/certificates.py": "rows of the vault",
    "lifecycle/instance/probe_kit.py": "the vault's own key and certificate",
    "lifecycle/pki/chain.py": "the certificates that come with the package",
    "lifecycle/serve/dashboard/actions.py": "a day in a form: one call, whose error is refused",
    "lifecycle/spool.py": "a file without a name that this process wrote",
    "lifecycle/sweep/pool.py": "a pipe between our own processes",
    "lifecycle/sweep/run.py": "a pipe between our own processes",
    "lifecycle/sweep/worker.py": "a pipe between our own processes",
    "lifecycle/vendor/audit.py": "what it has put into a spool",
    "lifecycle/vendor/batch_signing.py": "the database's own rows",
    "lifecycle/vendor/notices.py": "dates that the planner wrote into the outbox",
    "lifecycle/vendor/report_reading.py": "the database's own rows",
    "lifecycle/vendor/restores.py": "an entry of our own audit log",
    "lifecycle/vendor_side.py": "the digest's time, behind a pattern",
    "lifecycle/wire/memory.py": "what the other plane in this process has just written",
}
"""Modules that take apart what we wrote ourselves."""


def test_every_module_that_takes_bytes_apart_has_a_harness_or_a_reason() -> None:
    covered = {parser for name in names() for parser in load(name).parsers}
    for where in OURS:
        assert READS_BYTES.search((ROOT / where).read_text()), f"{where} needs no reason"
    for path in sorted((ROOT / "lifecycle").rglob("*.py")):
        where = path.relative_to(ROOT).as_posix()
        if where.startswith(("lifecycle/lab/", "lifecycle/rehearsal/")) or where in OURS:
            continue
        if READS_BYTES.search(path.read_text()):
            module = where.removesuffix(".py").replace("/", ".")
            assert any(parser.startswith(f"{module}.") for parser in covered), (
                f"{where} takes bytes apart and no harness names it"
            )


def test_nothing_that_is_installed_needs_the_harnesses() -> None:
    for package in ("lifecycle", "cli"):
        for path in (ROOT / package).rglob("*.py"):
            assert not re.search(r"^\s*(?:from|import) fuzz\b", path.read_text(), re.MULTILINE)


def test_a_document_that_was_emptied_shares_no_value_with_the_next() -> None:
    emptied_then_filled = bytes(
        (0, 0, 15, 0, 15)
    )  # drops the one value; then ``[[]]`` stands there
    documents: list[object] = [[1]]
    assert twisted(emptied_then_filled, documents) == b"[[]]"
    # Each further change puts ``[[]]`` into what stands there: once a level, never into itself.
    deeper = twisted(emptied_then_filled + bytes((0, 35)) * 30, documents)
    assert deeper.count(b"[") <= 3
    assert twisted(emptied_then_filled, documents) == b"[[]]"


def test_a_campaign_gives_every_harness_its_least_and_the_rest_by_weight() -> None:
    given_out = shares(10_000_000, 200_000, names())
    assert min(given_out.values()) >= 200_000
    assert sum(given_out.values()) >= 10_000_000
    assert given_out["words"] > given_out["pkcs12"]


def test_the_parts_of_a_campaign_add_up_in_its_table() -> None:
    known = {"a": Tally(10, coverage=5, peak_mb=90)}
    add(known, {"a": Tally(20, coverage=7, findings=1, peak_mb=80), "b": Tally(1)})
    assert known["a"] == Tally(30, coverage=7, findings=1, peak_mb=90)
    assert re.search(r"^total +31 .* 1 +90", table(known), re.MULTILINE)


def test_the_corpus_is_small() -> None:
    files = [path for path in CORPUS.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < 512 * 1024
