"""``user``: the people who may sign in to the ops dashboard with a password."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from cli.invocation import AsJson, actor, console, invocation, print_json
from lifecycle.errors import refuse

if TYPE_CHECKING:
    from lifecycle.vendor.users import Role

user = typer.Typer(
    no_args_is_help=True,
    help="Who may sign in to the dashboard with a password."
    " Example: pushcert user add anna --role operator",
)
Name = Annotated[str, typer.Argument(help="The user's name, as the audit log shows it.")]
PasswordFrom = Annotated[
    str | None,
    typer.Option(
        "--password-from",
        help="env:NAME, file:PATH or command:PROGRAM; without it the password is asked for.",
    ),
]


def register(app: typer.Typer) -> None:
    """Adds these commands to the command line."""
    app.add_typer(user, name="user")


@user.command()
def add(
    ctx: typer.Context,
    name: Name,
    role: Annotated[
        str, typer.Option("--role", help="viewer sees everything; operator may act as well.")
    ] = "viewer",
    password_from: PasswordFrom = None,
    as_json: AsJson = False,
) -> None:
    """Lets a person sign in to the dashboard.

    Example: pushcert user add anna --role operator
    """
    from lifecycle.vendor import users

    what = _role(role)
    with invocation(ctx).vendor_side() as side:
        with side.database.reading() as session:
            users.check_new(session, name)
        hashed = _new_password(name, password_from)
        with side.database.transaction() as session:
            users.add(session, name, what, hashed, at=side.clock.now(), actor=actor())
    if as_json:
        print_json({"name": name, "role": str(what)})
        return
    console().print(f"{name} can sign in, as {what}.", markup=False)


@user.command("list")
def list_users(ctx: typer.Context, as_json: AsJson = False) -> None:
    """Lists the users; those who sign in through OpenID Connect are not in it.

    Example: pushcert user list --json
    """
    from rich.table import Table

    from lifecycle.vendor import users

    with invocation(ctx).vendor_side() as side, side.database.reading() as session:
        found = users.all_users(session)
    if as_json:
        print_json(
            [
                {
                    "name": account.name,
                    "role": account.role,
                    "created_at": account.created_at.isoformat(),
                    "disabled_at": account.disabled_at and account.disabled_at.isoformat(),
                }
                for account in found
            ]
        )
        return
    table = Table("name", "role", "since", "disabled", box=None)
    for account in found:
        disabled = "" if account.disabled_at is None else f"{account.disabled_at:%Y-%m-%d}"
        table.add_row(account.name, account.role, f"{account.created_at:%Y-%m-%d}", disabled)
    console().print(table)


@user.command()
def password(ctx: typer.Context, name: Name, password_from: PasswordFrom = None) -> None:
    """Gives a user another password, signs them out everywhere, and lets them try again.

    Example: pushcert user password anna
    """
    from lifecycle.vendor import users

    with invocation(ctx).vendor_side() as side:
        with side.database.reading() as session:
            users.user_by_name(session, name)
        hashed = _new_password(name, password_from)
        with side.database.transaction() as session:
            account = users.user_by_name(session, name)
            users.set_password(session, account, hashed, at=side.clock.now(), actor=actor())
    console().print(f"{name} has the new password and is signed out everywhere.", markup=False)


@user.command()
def role(
    ctx: typer.Context,
    name: Name,
    what: Annotated[str, typer.Argument(metavar="ROLE", help="viewer or operator.")],
) -> None:
    """Lets a user do more or less, from now on.

    Example: pushcert user role anna viewer
    """
    from lifecycle.vendor import users

    wanted = _role(what)
    with invocation(ctx).vendor_side() as side, side.database.transaction() as session:
        account = users.user_by_name(session, name)
        changed = users.set_role(session, account, wanted, at=side.clock.now(), actor=actor())
    console().print(f"{name} is {'now' if changed else 'already'} {wanted}.", markup=False)


@user.command()
def disable(ctx: typer.Context, name: Name) -> None:
    """Shuts a user out at once; what they did stays in the audit log under their name.

    Example: pushcert user disable anna
    """
    from lifecycle.vendor import users

    with invocation(ctx).vendor_side() as side, side.database.transaction() as session:
        account = users.user_by_name(session, name)
        changed = users.disable(session, account, at=side.clock.now(), actor=actor())
    said = "can no longer sign in, and is signed out" if changed else "was disabled already"
    console().print(f"{name} {said}.", markup=False)


@user.command()
def enable(ctx: typer.Context, name: Name) -> None:
    """Lets a disabled user in again, with the password they had.

    Example: pushcert user enable anna
    """
    from lifecycle.vendor import users

    with invocation(ctx).vendor_side() as side, side.database.transaction() as session:
        account = users.user_by_name(session, name)
        changed = users.enable(session, account, at=side.clock.now(), actor=actor())
    console().print(f"{name} can {'again' if changed else 'already'} sign in.", markup=False)


def _role(text: str) -> Role:
    from lifecycle.vendor.users import Role

    try:
        return Role(text)
    except ValueError:
        raise typer.BadParameter(f"a role is one of {', '.join(Role)}") from None


def _new_password(name: str, source: str | None) -> str:
    """The hash of the password that a person gives, in one of the ways that no one else sees.

    Raises:
        Refused: there is none, or it is too easy.
    """
    from lifecycle.passphrase import parse_source, resolve
    from lifecycle.vendor.users import Passwords, check_password

    if source is not None:
        given = (resolve(parse_source(source)) or b"").decode(errors="replace")
    elif sys.stdin.isatty():
        given = typer.prompt("Password", hide_input=True, confirmation_prompt=True)
    else:
        raise refuse(
            "password_not_given",
            "There is no terminal to ask for the password on.",
            "Give --password-from env:NAME, file:PATH or command:PROGRAM.",
        )
    check_password(given, name)
    return Passwords().hash(given)
