"""Whether `pushcert serve` answers on this machine: exit code 0, or 1 and a sentence.

For containers and load balancers; takes the port and whether there is TLS from the configuration.
"""

from __future__ import annotations

import os
import sys

import httpx

from lifecycle.config import CONFIG_VARIABLE, find_config, load_config
from lifecycle.errors import PushcertError

TIMEOUT_SECONDS = 8


def main() -> int:
    """Asks ``/healthz`` once."""
    try:
        section = load_config(find_config(None, os.environ.get(CONFIG_VARIABLE))).serve
        scheme = "http" if section.certificate is None else "https"
        answer = httpx.get(
            f"{scheme}://127.0.0.1:{section.port}/healthz",
            timeout=TIMEOUT_SECONDS,
            trust_env=False,
            # Its certificate is for the name that instances know, and we ask ourselves.
            verify=False,  # noqa: S501
        )
    except (PushcertError, httpx.HTTPError) as error:
        print(f"pushcert serve gives no answer: {error}", file=sys.stderr)
        return 1
    if answer.status_code != httpx.codes.OK:
        print(f"pushcert serve answers {answer.status_code}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
