"""The isolation report as CSV, JSON and HTML, piece by piece: it never holds all customers."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Iterator
from typing import Any

from jinja2 import Environment

from lifecycle.vendor.csv_cells import harmless
from lifecycle.vendor.isolation import expected
from lifecycle.wire.messages import Probe

COLUMNS = ("slug", "name", "topic", "serial", "certificate", "checked_at", "verdict", "why", "run")
UNCHECKED = "unchecked"

_HTML = """\
<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Isolation report</title>
<style>
:root { color-scheme: light dark; font: 15px/1.45 system-ui, sans-serif; }
body { margin: 2rem auto; max-width: 80rem; padding: 0 1rem; }
table { border-collapse: collapse; width: 100%; }
th, td { border-bottom: 1px solid #8886; padding: .35rem .6rem; text-align: left;
  vertical-align: top; }
ul { margin: 0; padding-left: 1rem; }
.isolated { color: light-dark(#136c2e, #7fd99a); }
.breached { color: light-dark(#a40e26, #ff8f9a); font-weight: bold; }
.inconclusive, .unchecked { color: light-dark(#7a5200, #f0c36d); }
@media print { body { margin: 0; max-width: none; } tr { break-inside: avoid; } }
</style></head><body>
<h1>Isolation report</h1>
<p>{{ vendor }}, {{ at }}. An isolated customer's certificate reached its own device, and was
refused for another tenant's token, another tenant's topic, and a token that nobody has.</p>
<table><thead><tr><th scope="col">Customer</th><th scope="col">Verdict</th>
<th scope="col">Verified</th><th scope="col">Probes: expected, answered</th></tr></thead><tbody>
{% for row in rows %}<tr><th scope="row">{{ row.name }}<br><small>{{ row.slug }}</small></th>
<td class="{{ row.verdict or 'unchecked' }}">{{ row.verdict or 'unchecked' }}<br>
<small>{{ row.why or 'No check has been made.' }}</small></td>
<td>{{ (row.checked_at or 'never')[:19] }}</td>
<td><ul>{% for probe in row.probes %}<li>{{ probe.probe }}: {{ probe.expected }},
{{ probe.status or probe.fault }} {{ probe.reason or '' }}</li>{% endfor %}</ul></td></tr>
{% endfor %}</tbody></table>
</body></html>
"""


def answered(probe: dict[str, Any]) -> str:
    """What came back: ``400 TopicDisallowed``, or the fault that kept it from coming."""
    if probe["status"] is None:
        return str(probe["fault"])
    return f"{probe['status']} {probe['reason'] or ''}".strip()


def as_csv(rows: Iterable[dict[str, Any]]) -> Iterator[str]:
    """A row for each customer, with a column for each probe's expectation and answer."""
    probes = [f"{probe}_{part}" for probe in Probe for part in ("expected", "answered")]
    yield _line([*COLUMNS, *probes])
    for row in rows:
        said = {probe["probe"]: answered(probe) for probe in row["probes"]}
        cells = [row[column] or (UNCHECKED if column == "verdict" else "") for column in COLUMNS]
        for probe in Probe:
            cells += [expected(probe), said.get(probe, "")]
        yield _line(cells)


def as_json(rows: Iterable[dict[str, Any]]) -> Iterator[str]:
    """One JSON array."""
    separator = "[\n"
    for row in rows:
        yield separator + json.dumps(row, ensure_ascii=False)
        separator = ",\n"
    yield "[]\n" if separator == "[\n" else "\n]\n"


def as_html(rows: Iterable[dict[str, Any]], vendor: str, at: str) -> Iterator[str]:
    """One self-contained page: no script, no request; light and dark, for print as well."""
    page = Environment(autoescape=True).from_string(_HTML)
    yield from page.generate(rows=rows, vendor=vendor, at=at)


def _line(cells: list[str]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow([harmless(cell) for cell in cells])
    return text.getvalue()
