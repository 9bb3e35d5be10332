"""`longshore profiles`: platforms and keys of this user, in one file that only he can read."""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from typing import Annotated

import typer

from client.command_line.session import Json, session_of
from client.errors import SettingsMissing
from client.profiles import Profile, Profiles, profiles_file, read_profiles, write_profiles

app = typer.Typer(
    help="List, add, choose and remove profiles.", invoke_without_command=True, rich_markup_mode=None
)
Name = Annotated[str, typer.Argument(metavar="NAME")]


@app.callback()
def profiles(context: typer.Context, as_json: Json = False) -> int:
    """List profiles; the one with * is used where none is named and LONGSHORE_URL is not set."""
    if context.invoked_subcommand is not None:
        return 0
    session = session_of(context, as_json)
    found = read_profiles(profiles_file())
    if as_json:
        shown = [
            {"name": name, "url": each.url, "account": each.account, "isDefault": name == found.default}
            for name, each in found.named.items()
        ]
        session.screen.json(shown)
        return 0
    rows = [
        (("* " if name == found.default else "  ") + name, each.account, each.url)
        for name, each in found.named.items()
    ]
    session.screen.table(("  NAME", "ACCOUNT", "URL"), rows)
    return 0


@app.command("add")
def add(
    context: typer.Context,
    name: Name,
    url: Annotated[str, typer.Option("--url", envvar="LONGSHORE_URL", prompt="URL")],
    account: Annotated[str, typer.Option("--account", envvar="LONGSHORE_ACCOUNT", prompt="Account")],
    pool: Annotated[str, typer.Option("--pool", help="Where jobs go that name none.")] = "",
    ca_file: Annotated[str, typer.Option("--ca-file", help="Certificates that sign the platform's.")] = "",
    as_json: Json = False,
) -> int:
    """Add a profile, or change one. The key is asked for, or read from stdin: never an argument.

    Without --url it is of the environment: URL, account and key.
    """
    # The environment's key is for the environment's platform.
    key = os.environ.get("LONGSHORE_API_KEY", "") if url == os.environ.get("LONGSHORE_URL") else ""
    if not key:
        key = (
            typer.prompt("API key", hide_input=True, err=True) if sys.stdin.isatty() else sys.stdin.read().strip()
        )
    path = profiles_file()
    found = read_profiles(path)
    named = {**found.named, name: Profile(url, account, key, pool, ca_file)}
    write_profiles(path, Profiles(named, found.default or name))
    return session_of(context, as_json).screen.done({"name": name}, f"{name} is in {path}")


@app.command("use")
def use(context: typer.Context, name: Name, as_json: Json = False) -> int:
    """Use this one where none is named."""
    path = profiles_file()
    found = read_profiles(path)
    _refuse_unknown(found, name)
    write_profiles(path, replace(found, default=name))
    return session_of(context, as_json).screen.done({"name": name}, f"{name} is used where no profile is named")


@app.command("rm")
def remove(context: typer.Context, name: Name, as_json: Json = False) -> int:
    """Forget a profile; its key stays valid: longshore keys revoke."""
    path = profiles_file()
    found = read_profiles(path)
    _refuse_unknown(found, name)
    named = {each: profile for each, profile in found.named.items() if each != name}
    write_profiles(path, Profiles(named, "" if found.default == name else found.default))
    return session_of(context, as_json).screen.done({"name": name}, f"removed: {name}")


def _refuse_unknown(found: Profiles, name: str) -> None:
    if name not in found.named:
        raise SettingsMissing(f"there is no profile {name}; there are: {', '.join(found.named) or 'none'}")
