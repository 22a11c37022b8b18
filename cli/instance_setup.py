"""``instance init``, ``run``, ``rotate``, ``show``: an instance on a machine of its own."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli import completion
from cli.invocation import (
    AsJson,
    configure_log,
    console,
    invocation,
    print_json,
    read_file,
    write_file,
)
from lifecycle.errors import refuse

if TYPE_CHECKING:
    from lifecycle.instance.one import OneInstance
    from lifecycle.standalone import Standalone

Customer = Annotated[
    str | None,
    typer.Option(
        "--customer",
        help="The customer's slug, where instances are embedded.",
        autocompletion=completion.slugs,
    ),
]


def add_to(instance: typer.Typer) -> None:
    """Adds these commands to ``instance``."""
    for command in (init, run, rotate, show):
        instance.command()(command)


@contextmanager
def one_instance(ctx: typer.Context, customer: str | None) -> Iterator[OneInstance]:
    """The instance that a command is about: this machine's own, or an embedded customer's.

    Raises:
        Refused: ``customer_not_named``, or as the deployment that is opened.
    """
    opened = invocation(ctx)
    if opened.config().instance.vendor is not None and customer is None:
        with standalone(ctx) as alone:
            yield alone
        return
    if customer is None:
        raise refuse(
            "customer_not_named",
            "On this machine the instances are embedded, so it must be said which is meant.",
            "Give --customer SLUG; `pushcert customer list` has the slugs.",
        )
    with opened.embedded() as embedded:
        yield embedded.instance(customer)


@contextmanager
def standalone(ctx: typer.Context) -> Iterator[Standalone]:
    """This machine's own instance. Raises ``Refused``."""
    from lifecycle.clock import SystemClock
    from lifecycle.standalone import Standalone

    config = invocation(ctx).config()
    configure_log()
    with Standalone(config, SystemClock()) as alone:
        yield alone


def init(
    ctx: typer.Context,
    vendor: Annotated[str, typer.Option("--vendor", help="The https address of the vendor.")],
    code: Annotated[
        str | None,
        typer.Option(
            "--code", "--token", help="From the invitation; - reads it from stdin; else asked for."
        ),
    ] = None,
    directory: Annotated[Path, typer.Argument(help="Where config.toml and the vault go.")] = Path(),
    ca_file: Annotated[
        Path | None, typer.Option("--ca-file", help="Trust this CA for the vendor's server.")
    ] = None,
    proxy: Annotated[
        str | None, typer.Option("--proxy", help="An HTTPS proxy to reach the vendor through.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Sets up a customer's instance on this machine and makes it known to the vendor.

    Safe to repeat: what was interrupted is completed. The code is good for one instance.

    Example: pushcert instance init --vendor https://push.example.com --code -
    """
    from lifecycle.clock import SystemClock
    from lifecycle.config import CONFIG_NAME, load_config
    from lifecycle.standalone import Standalone

    given = _code(code)
    configure_log()
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    file = invocation(ctx).config_option or directory / CONFIG_NAME
    if not file.exists():
        write_file(file, _config(vendor, ca_file, proxy).encode(), 0o600)
    config = load_config(file)
    if config.instance.vendor != vendor:
        raise refuse(
            "instance_of_another_vendor",
            f"{file} is of another vendor ({config.instance.vendor or 'none'}).",
            "Choose another directory, or mend instance.vendor in that file.",
        )
    with Standalone(config, SystemClock()) as alone:
        alone.make_vault()
        receipt = alone.enrol(given)
    if as_json:
        print_json({**receipt.model_dump(), "config": str(file)})
        return
    out = console()
    out.print(f"{receipt.vendor} knows this as the instance of {receipt.customer}.", markup=False)
    out.print(f"Next: pushcert --config {file} instance run", markup=False)


def _code(given: str | None) -> str:
    if given == "-":
        return read_file(Path("-")).decode(errors="replace").strip()
    if given is not None:
        return given
    if not sys.stdin.isatty():
        raise typer.BadParameter("give --code, or --code - and the code on stdin")
    return str(typer.prompt("Code of the invitation"))


def _config(vendor: str, ca_file: Path | None, proxy: str | None) -> str:
    lines = [
        "# A customer's instance; every key is in config.example.toml.",
        "[instance]",
        f"vendor = {_toml(vendor)}",
        'directory = "instance"',
    ]
    if ca_file is not None:
        lines.append(f"ca_file = {_toml(str(ca_file.absolute()))}")
    if proxy is not None:
        lines.append(f"proxy = {_toml(proxy)}")
    return "\n".join(lines) + "\n"


def _toml(text: str) -> str:
    # A JSON string is a TOML basic string.
    import json

    return json.dumps(text, ensure_ascii=False)


def run(ctx: typer.Context) -> None:
    """Asks the vendor what is wanted and does it, until SIGTERM. Outbound calls only.

    Example: pushcert instance run
    """
    import random
    import signal
    import threading
    from types import FrameType

    from lifecycle.asking import ask_until_stopped

    stop = threading.Event()

    def ask_to_stop(_number: int, _frame: FrameType | None) -> None:
        stop.set()

    before = {s: signal.signal(s, ask_to_stop) for s in (signal.SIGTERM, signal.SIGINT)}
    try:
        with standalone(ctx) as alone:
            ask_until_stopped(alone, stop.wait, random.SystemRandom())
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def rotate(ctx: typer.Context) -> None:
    """Changes the keys by which the vendor knows this instance; done by itself in time, too.

    Example: pushcert instance rotate
    """
    with standalone(ctx) as alone:
        credential = alone.change_keys()
    console().print(f"The vendor knows the new keys (credential {credential}).", markup=False)


def show(ctx: typer.Context, customer: Customer = None, as_json: AsJson = False) -> None:
    """Says how this instance stands, here and in the vendor's books.

    Example: pushcert instance show
    """
    with one_instance(ctx, customer) as one:
        with one.vault() as vault:
            active, candidate = vault.active(), vault.candidate()
            devices = vault.devices.all()
        with one.agent() as agent:
            standing = agent.work().standing
    certificate = None if active is None else active.certificate
    document = {
        "topic": None if certificate is None else str(certificate.topic),
        "serial": None if certificate is None else certificate.serial,
        "not_after": None if certificate is None else certificate.not_after.isoformat(),
        "waiting_serial": None if candidate is None else candidate.certificate.serial,
        "devices": len(devices),
        "standing": None if standing is None else standing.model_dump(mode="json"),
    }
    if as_json:
        print_json(document)
        return
    out = console()
    if certificate is None:
        out.print("No push certificate yet.")
    else:
        until = f"{certificate.not_after:%Y-%m-%d %H:%M} UTC"
        out.print(f"{certificate.topic}, serial {certificate.serial}, until {until}", markup=False)
    out.print(f"{len(devices)} devices")
    if standing is None:
        out.print("The vendor no longer takes care of this customer.")
        return
    out.print(f"{standing.vendor} has it as the instance of {standing.customer}.", markup=False)
    if standing.paused:
        out.print("The vendor has paused it.")
    if standing.renewal_state is not None:
        out.print(f"A renewal is open: {standing.renewal_state}.", markup=False)
    if standing.blocked_message is not None:
        out.print(f"It cannot go on: {standing.blocked_message}", markup=False)
    if standing.verdict is not None:
        out.print(f"Isolation: {standing.verdict}. {standing.verdict_why or ''}", markup=False)
