"""`longshore secrets`: values that go in and never come out."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from client.command_line.session import Json, session_of
from client.command_line.spans import ago, now
from client.errors import Conflict

app = typer.Typer(help="List, set and remove secrets.", invoke_without_command=True, rich_markup_mode=None)


@app.callback()
def secrets(context: typer.Context, as_json: Json = False) -> int:
    """List the account's secrets, without their values; `set` and `rm` change them."""
    if context.invoked_subcommand is not None:
        return 0
    session = session_of(context, as_json)
    return session.screen.listed(
        session.longshore.secrets(),
        ("ID", "NAME", "CHANGED", "BY"),
        lambda secret: (secret.id, secret.key_name, f"{ago(secret.update_time, now())} ago", secret.created_by),
    )


@app.command("set")
def set_secret(
    context: typer.Context,
    name: Annotated[str, typer.Argument(metavar="NAME", help="As DB_PASSWORD; the id is made of it.")],
    secret_id: Annotated[str, typer.Option("--id", help="Another id; of one that exists, to change it.")] = "",
    as_json: Json = False,
) -> int:
    """Keep a value, or change it. It is asked for without being shown, or read from stdin: never an argument.

    longshore secrets set DB_PASSWORD < password.txt
    """
    session = session_of(context, as_json)
    value = typer.prompt("Value", hide_input=True, err=True) if sys.stdin.isatty() else sys.stdin.read()
    # The newline that a file or `echo` ends with is nobody's password.
    value = value.removesuffix("\n").removesuffix("\r")
    longshore = session.longshore
    try:
        secret = longshore.create_secret(name, value, secret_id)
    except Conflict:
        existing = next(
            (each for each in longshore.secrets() if each.id == secret_id or each.key_name == name), None
        )
        if existing is None:
            raise
        secret = longshore.change_secret(existing.id, value)
    if as_json:
        session.screen.json(dict(secret.fields))
    else:
        session.screen.line(secret.id)
    return 0


@app.command("rm")
def remove_secret(
    context: typer.Context, secret_id: Annotated[str, typer.Argument(metavar="SECRET")], as_json: Json = False
) -> int:
    """Remove a secret; jobs that name it and have not been launched will fail."""
    session = session_of(context, as_json)
    session.longshore.delete_secret(secret_id)
    return session.screen.done({"id": secret_id}, f"removed: {secret_id}")
