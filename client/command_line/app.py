"""`longshore` as a whole: what comes before the command, the commands, and the way out."""

from __future__ import annotations

import sys
from contextlib import suppress
from typing import Annotated

import typer

from client.command_line.commands import (
    clone,
    doctor,
    ends,
    events,
    explain,
    logs,
    notebook,
    open_page,
    outputs,
    people,
    pools,
    profiles,
    ps,
    secrets,
    show,
    submit,
)
from client.command_line.exits import exit_of
from client.command_line.screen import Screen
from client.command_line.session import Session

app = typer.Typer(
    name="longshore",
    help="Run batch jobs on your own Docker hosts.",
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 80},
)

#: Options before the job's own command; what follows the first word of that is the job's, options too.
_TAKES_A_COMMAND = {"allow_interspersed_args": False}


@app.callback()
def settings(
    context: typer.Context,
    profile: Annotated[
        str, typer.Option("--profile", metavar="NAME", help="Use this profile: longshore profiles.")
    ] = "",
    url: Annotated[str, typer.Option("--url", help="The platform's URL, instead of LONGSHORE_URL.")] = "",
    account: Annotated[str, typer.Option("--account", help="Instead of LONGSHORE_ACCOUNT.")] = "",
) -> None:
    """Run batch jobs on your own Docker hosts."""
    context.obj = Session(profile, url, account)


app.command("submit", context_settings=_TAKES_A_COMMAND)(submit.submit)
app.command("clone")(clone.clone)
app.command("ps")(ps.ps)
app.command("show")(show.show)
app.command("logs")(logs.logs)
app.command("wait")(ends.wait)
app.command("cancel")(ends.cancel)
app.command("rm")(ends.rm)
app.command("events")(events.events)
app.command("explain", context_settings=_TAKES_A_COMMAND)(explain.explain)
app.command("notebook")(notebook.notebook)
app.command("open")(open_page.open_page)
app.command("outputs")(outputs.outputs)
app.command("cp")(outputs.cp)
app.command("pools")(pools.pools)
app.command("nodes")(pools.nodes)
app.command("drain")(pools.drain)
app.command("undrain")(pools.undrain)
app.add_typer(people.users_app, name="users")
app.add_typer(people.keys_app, name="keys")
app.add_typer(secrets.app, name="secrets")
app.add_typer(profiles.app, name="profiles")
app.command("doctor")(doctor.doctor)


def main() -> None:
    """The entry point: never a traceback."""
    for stream in (sys.stdout, sys.stderr):
        # What a terminal of another encoding cannot show is no reason to fail.
        with suppress(AttributeError, ValueError):
            stream.reconfigure(errors="replace")  # type: ignore[union-attr]
    command = typer.main.get_command(app)
    raise SystemExit(
        exit_of(
            lambda: command.main(sys.argv[1:] or ["--help"], "longshore", standalone_mode=False),
            lambda text: Screen().fail(text),
        )
    )
