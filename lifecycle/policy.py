"""The planner's policy, from the configuration."""

from __future__ import annotations

from datetime import timedelta

from lifecycle.config import Config
from lifecycle.vendor.facts import Policy
from lifecycle.vendor.ladder import LadderPolicy


def configured_policy(config: Config) -> Policy:
    """The vendor's choices as the planner takes them."""
    renewal, reminders = config.renewal, config.reminders
    return Policy(
        window=timedelta(days=renewal.window_days),
        spread=timedelta(days=renewal.spread_days),
        urgent=timedelta(days=renewal.urgent_days),
        ladder=LadderPolicy(
            before_expiry=reminders.before_expiry,
            grace_days=reminders.grace_days,
            grace_every_days=reminders.grace_every_days,
            copy_ops_from=reminders.copy_ops_from,
            after_delivery=reminders.after_delivery,
        ),
        isolation_every=timedelta(days=config.isolation.every_days),
        isolation_retry=timedelta(hours=config.isolation.retry_hours),
        revocation_every=timedelta(hours=config.revocation.every_hours),
        retry=timedelta(minutes=renewal.retry_minutes),
        distributed=config.vendor.instances == "distributed",
        instance_silent=timedelta(hours=config.serve.instance_silent_hours),
        four_eyes=config.signing.approval == "manual",
    )
