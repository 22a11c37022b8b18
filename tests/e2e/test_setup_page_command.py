"""``instance serve`` as a process: one line when it is ready, a clean end, clear refusals."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from typer.testing import CliRunner

from cli.main import app

ROOT = Path(__file__).resolve().parents[2]
SECONDS = 60
"""A bound for a busy machine, and nothing that is measured."""


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("vendor")
    file = directory / "config.toml"
    assert CliRunner().invoke(app, ["init", str(directory)]).exit_code == 0
    added = CliRunner().invoke(
        app,
        [
            *("--config", str(file), "customer", "add", "acme"),
            *("--name", "Acme GmbH", "--email", "it@acme.example"),
        ],
    )
    assert added.exit_code == 0, added.output
    return file


def command(config: Path, *arguments: str) -> list[str]:
    return [sys.executable, "-m", "cli", "--config", str(config), "instance", "serve", *arguments]


def refused(config: Path, *arguments: str) -> str:
    done = subprocess.run(
        command(config, *arguments), cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 3, done.stderr
    assert done.stdout == ""
    return done.stderr


@contextmanager
def process(config: Path, *arguments: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A process that serves; with the address that it has printed."""
    with subprocess.Popen(
        command(config, *arguments),
        cwd=ROOT,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as started:
        try:
            assert started.stdout is not None
            yield started, json.loads(started.stdout.readline())["url"]
        finally:
            if started.poll() is None:
                started.kill()


@pytest.mark.parametrize("by", [signal.SIGTERM, signal.SIGINT])
def test_it_says_where_it_is_and_ends_when_told(config: Path, by: signal.Signals) -> None:
    with process(config, "--customer", "acme", "--port", "0") as (started, url):
        page = httpx.get(url, trust_env=False, timeout=SECONDS)
        assert page.status_code == 200
        assert "Push certificate of Acme GmbH" in page.text
        assert httpx.get(url + "/healthz", trust_env=False).text == "ok\n"
        started.send_signal(by)
        out, error = started.communicate(timeout=SECONDS)
    assert started.returncode == 0, error
    assert out == ""
    assert "Traceback" not in error


def test_it_listens_on_loopback_and_warns_where_it_is_told_not_to(config: Path) -> None:
    with process(config, "--customer", "acme", "--port", "0") as (started, url):
        assert url.startswith("http://127.0.0.1:")
        started.terminate()
        _, error = started.communicate(timeout=SECONDS)
        assert "whoever reaches" not in error
    with process(config, "--customer", "acme", "--host", "0.0.0.0", "--port", "0") as (  # noqa: S104
        started,
        _,
    ):
        started.terminate()
        _, error = started.communicate(timeout=SECONDS)
        assert "whoever reaches 0.0.0.0 can use this page" in error


def test_what_cannot_be_served_is_refused_before_anybody_is_told_an_address(config: Path) -> None:
    assert "customer_unknown" in refused(config, "--customer", "nobody")
    assert "customer_not_named" in refused(config)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        assert "address_unusable" in refused(config, "--customer", "acme", "--port", port)


def test_the_public_address_and_the_proxies_are_read_from_the_configuration(
    config: Path, tmp_path: Path
) -> None:
    mounted = config.parent / "mounted.toml"
    mounted.write_text(
        config.read_text().split("[instance]")[0]
        + '[instance]\npublic_url = "https://mdm.example.com/push"\n'
        + 'trusted_proxies = ["127.0.0.1"]\n'
    )
    with process(mounted, "--customer", "acme", "--port", "0") as (started, url):
        asked = httpx.Client(base_url=url, trust_env=False, timeout=SECONDS)
        with asked:
            page = asked.get("/push/", headers={"host": "mdm.example.com"})
            other = asked.get("/", headers={"x-forwarded-prefix": "/mdm/push"})
        started.terminate()
        started.communicate(timeout=SECONDS)
    assert 'href="/push/setup.css' in page.text
    assert 'href="/mdm/push/setup.css' in other.text
    wrong = tmp_path / "wrong.toml"
    wrong.write_text('[instance]\ntrusted_proxies = ["proxy.example.com"]\n')
    assert "config_invalid" in refused(wrong, "--customer", "acme")
