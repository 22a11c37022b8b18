"""The way to APNs, from the configuration."""

from __future__ import annotations

from lifecycle.apns.client import RetryPolicy
from lifecycle.apns.gateway import Gateway
from lifecycle.clock import Clock
from lifecycle.config import Config
from lifecycle.instance.apns_pushes import ApnsPushes


def configured_gateway(config: Config) -> Gateway:
    """Where pushes go."""
    apns = config.apns
    ca_file = None if apns.ca_file is None else config.path(apns.ca_file)
    return Gateway(apns.host, apns.port, ca_file, apns.proxy)


def configured_pushes(config: Config, clock: Clock) -> ApnsPushes:
    """How instances push: through that gateway, with retries."""
    apns = config.apns
    retry = RetryPolicy(
        attempts=apns.attempts, base=apns.backoff_seconds, timeout=apns.timeout_seconds
    )
    return ApnsPushes(configured_gateway(config), clock, retry)
