"""Every code block in README.md and docs/*.md does what it is there for."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from bench.isolation import free_port
from lifecycle.config import Config
from tests.deployment import deployment
from tests.documents import PAGES, ROOT, TERMINAL, Block, blocks, commands
from tests.machine import PASSPHRASE
from tests.reader import CUSTOMER, Reader

RUN_ELSEWHERE = {
    "pip install '.[lab]'": "tests/packaging/test_wheel.py",
    "pip install -e '.[test]'": ".ci/run",
}
"""Blocks that fetch packages, by their words, and what runs them."""

FROM_NOTHING = frozenset({"README.md"})
"""Pages that begin with ``pushcert init``; the others take a deployment for granted."""
FROM_ELSEWHERE = frozenset({"docs/moving.md"})
"""Pages whose customer has a certificate that pushcert does not know."""

MORE = """\
[signer]
passphrase = "env:PASS"
[serve]
port = 0
[instance]
port = 0
"""
"""What a reader's configuration says besides: the signer's key is encrypted, all ports are free."""

PYTHON = [block for page in PAGES for block in blocks(page, "python")]
TO_BE_READ = [page for page in PAGES if blocks(page, *TERMINAL)]


ADMIN = {"Cookie": "mdm=an-admin"}
"""Whom the MDM's login lets in."""
NGINX = """\
daemon off;
error_log stderr;
pid {folder}/nginx.pid;
events {{}}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    server {{
        listen 127.0.0.1:{port};
        location = /internal/is-admin {{
            if ($cookie_mdm = an-admin) {{ return 204; }}
            return 401;
        }}
        {block}
    }}
}}
"""


def is_run_elsewhere(block: Block) -> bool:
    return any(words in block.text for words in RUN_ELSEWHERE)


def example(block: Block, folder: Path) -> Path:
    """The block as a file."""
    file = folder / ("test_example.py" if "def test_" in block.text else "example.py")
    file.write_text(block.text)
    return file


@pytest.mark.parametrize("block", PYTHON, ids=str)
def test_an_example_in_python_runs_as_it_stands(block: Block, tmp_path: Path) -> None:
    file = example(block, tmp_path)
    runner = ["-m", "pytest", "-q"] if file.name.startswith("test_") else []
    done = subprocess.run(
        [sys.executable, *runner, str(file)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_examples_in_python_are_typed_and_tidy(tmp_path: Path) -> None:
    files = []
    for number, block in enumerate(PYTHON):
        folder = tmp_path / f"block_{number}"
        folder.mkdir()
        # A name for each: mypy looks at all of them at once.
        file = example(block, folder)
        files.append(str(file.rename(folder / f"{file.stem}_{number}.py")))
    assert files
    config = str(ROOT / "pyproject.toml")
    # The project's own settings, so that what it has found out about lifecycle is used again.
    types = ["mypy", "--config-file", config, "--cache-dir", str(ROOT / ".mypy_cache")]
    for tool in (types, ["ruff", "check", "--config", config, "--ignore=S,PT"]):
        done = subprocess.run(
            [sys.executable, "-m", *tool, *files],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("page", TO_BE_READ)
def test_what_a_page_shows_in_a_terminal_can_be_typed_from_top_to_bottom(
    page: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
) -> None:
    def wheel() -> Path:
        made: Path = request.getfixturevalue("wheel")
        return made

    if page == "docs/installing.md" and shutil.which("systemd-sysusers") is None:
        pytest.skip("systemd-sysusers is not installed; it makes the users of the units")
    monkeypatch.setenv("PASS", PASSPHRASE)
    with deployment(tmp_path, MORE) as vendor:
        if page in FROM_ELSEWHERE:
            vendor.settle()
            vendor.add(CUSTOMER)
        elif page not in FROM_NOTHING:
            vendor.settle(CUSTOMER)
        reader = Reader(vendor, tmp_path / "home", wheel)
        try:
            for block in blocks(page, *TERMINAL):
                if not is_run_elsewhere(block):
                    for command in commands(block):
                        reader.type(command)
        finally:
            reader.leave()


def test_every_block_is_of_a_language_that_is_run_here() -> None:
    """``text`` is for pictures: nothing in it could be typed."""
    written = {block.language for page in PAGES for block in blocks(page)}
    assert written == {*TERMINAL, "python", "toml", "nginx", "text"}
    for page in PAGES:
        assert len(blocks(page)) * 2 == (ROOT / page).read_text().count("```"), "none is missed"
        for picture in blocks(page, "text"):
            assert not re.search(r"^\s*(\$ |(sudo )?pushcert )", picture.text, re.MULTILINE)


def test_what_is_run_elsewhere_is_run_there() -> None:
    for words, where in RUN_ELSEWHERE.items():
        assert words in (ROOT / where).read_text()
        assert any(words in block.text for page in PAGES for block in blocks(page, "sh"))


def test_a_configuration_in_a_page_can_be_loaded() -> None:
    shown = [block for page in PAGES for block in blocks(page, "toml")]
    assert shown
    for block in shown:
        Config(**tomllib.loads(block.text))


def test_nginx_as_a_page_configures_it_lets_in_whom_the_mdm_lets_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nginx = shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin")
    if nginx is None:
        pytest.skip("nginx is not installed")
    (block,) = [block for page in PAGES for block in blocks(page, "nginx")]
    monkeypatch.setenv("PASS", PASSPHRASE)
    port = free_port()
    public = f'public_url = "http://127.0.0.1:{port}/push"\n'
    with deployment(tmp_path, f"{MORE}{public}") as vendor, ExitStack() as ending:
        vendor.settle(CUSTOMER)
        page = started(
            ending,
            *(sys.executable, "-m", "cli", "--config", str(vendor.config)),
            *("instance", "serve", "--customer", CUSTOMER),
        )
        assert page.stdout is not None
        real = urlsplit(json.loads(page.stdout.readline())["url"])
        assert "127.0.0.1:8444" in block.text
        config = tmp_path / "nginx.conf"
        text = block.text.replace("127.0.0.1:8444", f"127.0.0.1:{real.port}")
        config.write_text(NGINX.format(folder=tmp_path, port=port, block=text))
        started(ending, nginx, "-c", str(config), "-p", str(tmp_path), "-e", "stderr")
        transport = httpx.HTTPTransport(retries=8)  # until nginx listens
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", transport=transport) as client:
            assert client.get("/push/").status_code == 401
            shown = client.get("/push/", headers=ADMIN, follow_redirects=True)
            assert shown.status_code == 200
            assert 'href="/push/' in shown.text, "links lead through the proxy"
            assert client.get("/push", headers=ADMIN).headers["Location"].endswith("/push/")


def started(ending: ExitStack, *command: str) -> subprocess.Popen[str]:
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    ending.callback(process.communicate, timeout=60)
    ending.callback(process.terminate)
    return process
