"""The expiry report as metrics: for Prometheus' textfile collector, and for ``/metrics``."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from lifecycle.errors import refuse
from lifecycle.vendor.facts import Status
from lifecycle.vendor.report import URGENCY, Report, ReportRow

if TYPE_CHECKING:
    from prometheus_client import Metric


def as_metrics_text(report: Report) -> str:
    """The metrics in Prometheus' text format.

    Raises:
        Refused: ``metrics_support_missing``.
    """
    try:
        from prometheus_client import CollectorRegistry, generate_latest
    except ImportError:
        raise refuse(
            "metrics_support_missing",
            "Metrics need prometheus-client, which is not installed.",
            "Run `pip install 'pushcert[metrics]'`.",
        ) from None
    registry = CollectorRegistry()
    registry.register(ReportCollector(report))
    return generate_latest(registry).decode()


class ReportCollector:
    """A collector of prometheus_client for one report.

    Names follow prometheus.io/docs/practices/naming: base units, a unit as suffix, instants as
    ``_timestamp_seconds``.
    """

    def __init__(self, report: Report) -> None:
        self._report = report

    def collect(self) -> Iterator[Metric]:
        """Every metric of the report."""
        report, rows = self._report, self._report.rows
        yield _gauge(
            "pushcert_report_timestamp_seconds",
            "As of when the report is.",
            (),
            [((), report.at.timestamp())],
        )
        counts = report.counts
        yield _gauge(
            "pushcert_customers",
            "Customers in care, by status.",
            ("status",),
            [((str(name),), counts.get(str(name), 0)) for name in URGENCY],
        )
        yield _gauge(
            "pushcert_certificate_not_after_timestamp_seconds",
            "When the active push certificate ends.",
            ("customer", "topic"),
            [
                ((row.slug, row.topic or ""), row.not_after.timestamp())
                for row in rows
                if row.not_after is not None and row.status != "paused"
            ],
        )
        yield _gauge(
            "pushcert_certificate_revoked",
            "1 if the active push certificate has been revoked.",
            ("customer",),
            [((row.slug,), 1) for row in rows if row.status == "revoked"],
        )
        yield from _renewals(rows)
        yield _gauge(
            "pushcert_deployment_failing_timestamp_seconds",
            "Since when a deploy target does not have the active push certificate.",
            ("customer", "target", "code"),
            [
                ((row.slug, one.target, one.code or ""), (one.since or one.at).timestamp())
                for row in rows
                if row.status != "paused"
                for one in row.not_deployed
            ],
        )
        yield from _isolation(rows)
        yield _gauge(
            "pushcert_signer_not_after_timestamp_seconds",
            "When the MDM signing certificate, or a certificate of its chain, ends.",
            ("name",),
            [((signer.name,), signer.not_after.timestamp()) for signer in report.signers],
        )
        yield _gauge(
            "pushcert_signer_unavailable_timestamp_seconds",
            "Since when the MDM signing key cannot be used.",
            ("name",),
            [
                ((signer.name,), signer.unavailable_since.timestamp())
                for signer in report.signers
                if signer.unavailable_since is not None
            ],
        )
        yield _gauge(
            "pushcert_messages_undelivered",
            "Messages that failed and have not got through since.",
            (),
            [((), report.undelivered)],
        )
        yield _gauge(
            "pushcert_contacts_bounced",
            "Addresses of customers that a mail server refuses for good.",
            (),
            [((), len({address for row in rows for address in row.bounced}))],
        )


def _renewals(rows: Iterable[ReportRow]) -> Iterator[Metric]:
    rows = list(rows)
    yield _gauge(
        "pushcert_renewal_opened_timestamp_seconds",
        "When the open renewal was opened.",
        ("customer", "state", "reason"),
        [
            (
                (row.slug, row.renewal_state or "", row.renewal_reason or ""),
                row.renewal_opened_at.timestamp(),
            )
            for row in rows
            if row.renewal_opened_at is not None and row.status != "paused"
        ],
    )
    yield _gauge(
        "pushcert_renewal_blocked_timestamp_seconds",
        "Since when the open renewal is held up.",
        ("customer", "code", "acts"),
        [
            ((row.slug, row.blocked_by, row.acts), row.blocked_since.timestamp())
            for row in rows
            if row.blocked_by is not None
            and row.blocked_since is not None
            and row.status != "paused"
        ],
    )


def _isolation(rows: Iterable[ReportRow]) -> Iterator[Metric]:
    rows = list(rows)
    yield _gauge(
        "pushcert_isolation_checked_timestamp_seconds",
        "When isolation was last verified.",
        ("customer",),
        [
            ((row.slug,), row.last_checked_at.timestamp())
            for row in rows
            if row.last_checked_at is not None
        ],
    )
    yield _gauge(
        "pushcert_isolation_breached",
        "1 if the last isolation check found a breach, 0 if it found none.",
        ("customer",),
        [((row.slug,), int(row.verdict == "breached")) for row in rows if row.verdict is not None],
    )
    yield _gauge(
        "pushcert_isolation_verdict",
        "1 for the last verdict; unchecked: there should be one and is none.",
        ("customer", "verdict"),
        [
            ((row.slug, row.verdict or "unchecked"), 1)
            for row in rows
            if row.verdict is not None or _is_to_be_checked(row)
        ],
    )


def _is_to_be_checked(row: ReportRow) -> bool:
    """As the planner has it: not the canary tenant, and no certificate that APNs refuses."""
    return not row.canary and row.status in (Status.OK, Status.DUE, Status.URGENT)


def _gauge(
    name: str,
    says: str,
    labels: tuple[str, ...],
    samples: Iterable[tuple[tuple[str, ...], float]],
) -> Metric:
    from prometheus_client.core import GaugeMetricFamily

    family = GaugeMetricFamily(name, says, labels=labels)
    for values, value in samples:
        family.add_metric(values, value)
    return family
