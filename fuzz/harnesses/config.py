"""The configuration, and what is made of the addresses in it."""

from __future__ import annotations

from pathlib import Path

from fuzz.harness import ROOT, refusals
from lifecycle.config import parse_config
from lifecycle.mdm_servers.server import Reach

PARSERS = ("lifecycle.config.parse_config",)
LONGEST = 8192
_FILE = Path("/etc/pushcert/config.toml")


def one(data: bytes) -> None:
    """A configuration or a refusal; every address in it can be taken apart."""
    with refusals():
        config = parse_config(data, _FILE)
        assert config.reminders.quiet_span is None or len(config.reminders.quiet_span) == 2
        for target in config.deploy.values():
            if hasattr(target, "url"):
                Reach(target.url).host.encode()
        config.database_url.encode()


def seeds() -> dict[str, bytes]:
    """The example, and its sections in small."""
    return {
        "example": (ROOT / "config.example.toml").read_bytes()[:8000],
        "deploy": b'[vendor]\nname = "x"\n[deploy.mdm]\nkind = "nanomdm"\n'
        b'url = "https://mdm.example:9000/x"\napi_key = "env:KEY"\n',
        "instance": b'[instance]\nvendor = "https://v.example:8443"\ntrusted_proxies=["10.0.0.0/8"]',
        "reminders": b'[reminders]\nbefore_expiry = [30, 7]\nquiet_hours = "20:00-07:00"\n',
        "serve": b'[serve]\npublic_url = "https://o.example"\n[oidc]\nissuer = "https://i.example"\n'
        b'client_id = "c"\n',
        "deep": b"a = " + b"[" * 100 + b"]" * 100,
        "zone": b'[vendor]\ntime_zone = "Europe/Berlin"\n',
    }
