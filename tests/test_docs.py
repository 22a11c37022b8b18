"""What the documents promise is what the code does."""

from __future__ import annotations

import importlib
import importlib.util
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any, get_args

import pytest

from lifecycle.config import Config, Language, load_config
from lifecycle.config_deploy import CommandSection, FilesSection, NanoMdmSection, TargetSection
from lifecycle.errors import Refused
from lifecycle.language.languages import LANGUAGES
from lifecycle.policy import configured_policy
from lifecycle.vendor.facts import Policy, Status
from lifecycle.vendor.kinds import ALERTS

ROOT = Path(__file__).resolve().parent.parent
EXAMPLE = ROOT / "config.example.toml"


def test_the_page_of_findings_lists_every_code() -> None:
    spec = importlib.util.spec_from_file_location("make_findings", ROOT / "docs/make_findings.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert (ROOT / "docs" / "findings.md").read_text() == module.page(), (
        "run `python docs/make_findings.py`"
    )


def flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, dict):
            found |= flat(value, f"{prefix}{key}.")
        else:
            found[prefix + key] = value
    return found


def test_the_example_shows_every_key_with_its_default() -> None:
    text = EXAMPLE.read_text()
    shown = flat(tomllib.loads(text))
    defaults = flat(Config().model_dump(mode="json", exclude={"base"}))
    commented = set(re.findall(r"^# (\w+) = ", text, re.MULTILINE))
    for key, default in defaults.items():
        if default is None:
            assert key.rpartition(".")[2] in commented, f"{key} is not shown"
        else:
            assert shown.pop(key) == default, key
    assert not shown, f"shown, and not known: {shown}"


def test_the_example_can_be_loaded_with_everything_switched_on(tmp_path: Path) -> None:
    text = re.sub(r"^# (\w+ = |\[)", r"\1", EXAMPLE.read_text(), flags=re.MULTILINE)
    file = tmp_path / "config.toml"
    file.write_text(text)
    config = load_config(file)
    assert config.smtp.password == "env:PUSHCERT_SMTP"
    assert config.notify["slack"].kinds == ALERTS
    assert set(LANGUAGES) == set(get_args(Language))
    assert configured_policy(Config()) == Policy()


def test_the_example_shows_every_key_of_every_deploy_target_with_its_default() -> None:
    text = re.sub(r"^# (\w+ = |\[)", r"\1", EXAMPLE.read_text(), flags=re.MULTILINE)
    shown = tomllib.loads(text)["deploy"]
    kinds = {target["kind"]: target for target in shown.values()}
    common = set(TargetSection.model_fields)
    everywhere = set().union(*(set(target) for target in kinds.values()))
    for section in (FilesSection, CommandSection, NanoMdmSection):
        (kind,) = get_args(section.model_fields["kind"].annotation)
        fields = section.model_fields
        assert set(fields) - common <= set(kinds[kind]), kind
        for key, value in kinds[kind].items():
            default = fields[key].default
            if key not in ("kind", "customer", "needs", "command", "url", "api_key", "ca_file"):
                assert value == (list(default) if isinstance(default, tuple) else default) or (
                    default is None
                ), f"{kind}: {key}"
    assert common <= everywhere


@pytest.mark.parametrize(
    ("text", "code", "names"),
    [
        ("[deploy.x]\nkind = 'scp'", "config_invalid", "deploy.x"),
        ("[deploy.'A b']\nkind = 'files'\npem = '{customer}'", "config_invalid", "'A b'"),
        ("[deploy.x]\nkind = 'files'", "config_invalid", "name a file"),
        ("[deploy.x]\nkind = 'files'\npem = '/etc/x.pem'", "config_invalid", "{customer}"),
        (
            "[deploy.x]\nkind = 'files'\npem = '{customer}'\nmode = '0644'",
            "config_invalid",
            "open to every user",
        ),
        (
            "[deploy.x]\nkind = 'files'\np12 = '{customer}'",
            "config_invalid",
            "p12_passphrase",
        ),
        (
            "[deploy.x]\nkind = 'files'\nkey = '{customer}'\npem = '{customer}'",
            "config_invalid",
            "same path",
        ),
        (
            "[deploy.x]\nkind = 'micromdm'\nurl = 'https://m.example'\napi_key = 'env:K'",
            "config_invalid",
            "deploy.x",
        ),
        (
            "[deploy.x]\nkind = 'nanomdm'\nurl = 'https://m.example'\napi_key = 'hunter2'",
            "config_invalid",
            "api_key",
        ),
        (
            "[deploy.x]\nkind = 'nanomdm'\nurl = 'https://u:hunter2@m.example'\napi_key = 'env:K'",
            "config_invalid",
            "url",
        ),
        (
            "[deploy.x]\nkind = 'command'\ncommand = ['true']\nneeds = ['y']\n"
            "[deploy.y]\nkind = 'command'\ncommand = ['true']",
            "config_invalid",
            "no target above it",
        ),
        ("[deploy.x]\nkind = 'command'\ncommand = []", "config_invalid", "command"),
        ("[vendor]\nnmae = 'x'", "config_invalid", "vendor.nmae"),
        ("[renewal]\nwindow_days = 'soon'", "config_invalid", "renewal.window_days"),
        ("[renewal]\nwindow_days = 12", "config_invalid", "spread_days"),
        ("[vendor]\ntime_zone = 'Mars/Olympus'", "config_invalid", "vendor.time_zone"),
        ("[reminders]\nquiet_hours = '9-17'", "config_invalid", "reminders.quiet_hours"),
        ("[digest]\nat = 'noon'", "config_invalid", "digest.at"),
        ("[notify.mail]\nurl = 'env:X'", "config_invalid", "notify"),
        ("[notify.slack]\nurl = 'slack://hunter2'", "config_invalid", "notify.slack.url"),
        ("[smtp]\npassword = 'hunter2'", "config_invalid", "smtp.password"),
        ("[vendor", "config_unreadable", "TOML"),
    ],
)
def test_a_wrong_configuration_names_the_key(
    tmp_path: Path, text: str, code: str, names: str
) -> None:
    file = tmp_path / "config.toml"
    file.write_text(text)
    with pytest.raises(Refused) as refused:
        load_config(file)
    assert refused.value.codes == (code,)
    assert names in str(refused.value)
    assert "hunter2" not in str(refused.value)


def test_a_missing_configuration_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="pushcert init"):
        load_config(tmp_path / "none.toml")


def test_every_status_is_explained() -> None:
    rows = re.findall(r"^\| (\w+) \|", (ROOT / "docs/operations.md").read_text(), re.MULTILINE)
    assert set(Status) <= set(rows)


def test_the_first_requests_ladder_is_the_documented_one() -> None:
    section = (ROOT / "docs/operations.md").read_text().split("### The first request")[1]
    days = re.findall(r"^\| (\d+) \|$", section.split("###")[0], re.MULTILINE)
    assert tuple(map(int, days)) == Policy().ladder.after_delivery


def test_links_between_documents_lead_somewhere() -> None:
    for page in (*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")):
        for target in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name}: {target}"


def blocks(page: str, language: str) -> list[str]:
    text = (ROOT / "docs" / page).read_text()
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("text", blocks("deploying.md", "toml"))
def test_every_deploy_target_on_the_page_can_be_loaded(tmp_path: Path, text: str) -> None:
    from lifecycle.deploying import configured_targets

    file = tmp_path / "config.toml"
    file.write_text(text)
    assert configured_targets(load_config(file), "acme")


def test_the_page_on_deploying_names_every_kind_and_key() -> None:
    page = (ROOT / "docs" / "deploying.md").read_text()
    for section in (FilesSection, CommandSection, NanoMdmSection):
        for key in set(section.model_fields) - {"kind", "group", "certificate_mode"}:
            assert re.search(rf"\b{key}\b", page), key
    kinds = {tomllib.loads(text)["deploy"].popitem()[1]["kind"] for text in
             blocks("deploying.md", "toml")}  # fmt: skip
    assert kinds == {"files", "command", "nanomdm", "micromdm", "zentral"}


@pytest.mark.parametrize("page", ["deploying.md", "moving.md"])
def test_every_command_on_the_page_is_one_with_these_options(page: str) -> None:
    import typer.main

    from cli.main import app

    found = 0
    for line in "".join(blocks(page, "console")).splitlines():
        if not line.startswith("$ pushcert "):
            continue
        found += 1
        command: Any = typer.main.get_command(app)
        for word in shlex.split(line)[2:]:
            if hasattr(command, "commands") and not word.startswith("-"):
                assert word in command.commands, line
                command = command.commands[word]
            elif word.startswith("-"):
                options = [option for one in command.params for option in one.opts]
                assert word in options, f"{word}: {line}"
    assert found > 1


def test_every_command_has_a_sentence_and_an_example() -> None:
    import typer.main

    from cli.main import app

    def commands(group: Any, path: str) -> None:
        for name, command in group.commands.items():
            text = command.help or ""
            assert "Example" in text, f"{path} {name} has no example"
            if hasattr(command, "commands"):
                commands(command, f"{path} {name}")
            else:
                assert text.strip()[0].isupper()
                assert text.split("\n")[0].rstrip().endswith("."), f"{path} {name}"

    commands(typer.main.get_command(app), "pushcert")


def test_the_overview_lists_every_command_that_the_modules_have() -> None:
    import pkgutil

    import typer.main

    import cli
    from cli.main import COMMANDS

    listed = {(name, module) for group in COMMANDS.values() for name, (module, _) in group.items()}
    found = set()
    for info in pkgutil.iter_modules(cli.__path__, "cli."):
        if info.name == "cli.__main__":
            continue  # it runs the command line
        module = importlib.import_module(info.name)
        if hasattr(module, "register"):
            part = typer.Typer()
            module.register(part)
            found |= {(name, info.name) for name in typer.main.get_group(part).commands}
    assert listed == found


def test_what_a_command_that_takes_long_is_called_is_known() -> None:
    from cli.main import COMMANDS, LONG_RUNNING

    assert {name for group in COMMANDS.values() for name in group} >= LONG_RUNNING


def test_help_and_file_commands_start_without_the_heavy_libraries() -> None:
    heavy = ("sqlalchemy", "sqlmodel", "alembic", "fastapi", "httpx", "apscheduler", "jinja2")
    code = (
        "import sys; from typer.testing import CliRunner; from cli.main import app;"
        "r = CliRunner().invoke(app, sys.argv[1:]); assert r.exit_code in (0, 4), r.output;"
        f"print([m for m in {heavy!r} if m in sys.modules])"
    )
    vector = ROOT / "tests" / "vectors" / "customer-csr.pem"
    for arguments in (["--help"], ["report", "--help"], ["inspect", str(vector)]):
        done = subprocess.run(
            [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True
        )
        assert done.stdout.strip() == "[]", arguments
