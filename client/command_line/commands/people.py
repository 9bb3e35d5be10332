"""`longshore users` and `longshore keys`: who may do what."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated

import typer

from client.command_line.session import Json, session_of
from client.command_line.spans import ago, clock, now, seconds_of
from client.reads.people import ApiKey

users_app = typer.Typer(help="List, add and remove users.", invoke_without_command=True, rich_markup_mode=None)
keys_app = typer.Typer(help="List, make and revoke API keys.", invoke_without_command=True, rich_markup_mode=None)


@users_app.callback()
def users(context: typer.Context, as_json: Json = False) -> int:
    """List the account's users; `add` and `rm` change them."""
    if context.invoked_subcommand is not None:
        return 0
    session = session_of(context, as_json)
    return session.screen.listed(
        session.longshore.users(),
        ("ID", "E-MAIL", "ROLE", "NAME"),
        lambda user: (user.id, user.email, user.role, user.display_name),
    )


@users_app.command("add")
def add_user(
    context: typer.Context,
    email: Annotated[str, typer.Argument(metavar="E-MAIL")],
    admin: Annotated[bool, typer.Option("--admin", help="Who may change all of the account.")] = False,
    name: Annotated[str, typer.Option("--name", help="Shown to people.")] = "",
    as_json: Json = False,
) -> int:
    """Add a user, who has no key yet; for admins."""
    session = session_of(context, as_json)
    user = session.longshore.create_user(email, admin=admin, display_name=name)
    if as_json:
        session.screen.json(dict(user.fields))
    else:
        session.screen.line(user.id)
        session.screen.say(f"a key for them: longshore keys new --user {user.id}", "dim")
    return 0


@users_app.command("rm")
def remove_user(
    context: typer.Context, user_id: Annotated[str, typer.Argument(metavar="USER")], as_json: Json = False
) -> int:
    """Remove a user; their keys end, their jobs stay."""
    session = session_of(context, as_json)
    session.longshore.delete_user(user_id)
    return session.screen.done({"id": user_id}, f"removed: {user_id}")


@keys_app.callback()
def keys(context: typer.Context, as_json: Json = False) -> int:
    """List keys: an admin all of the account, others their own; `new` and `revoke` change them."""
    if context.invoked_subcommand is not None:
        return 0
    session = session_of(context, as_json)
    return session.screen.listed(session.longshore.api_keys(), ("ID", "OF", "USED", "EXPIRES", "NAME"), _key_row)


def _key_row(key: ApiKey) -> tuple[str, ...]:
    used = f"{ago(key.last_used_time, now())} ago" if key.last_used_time else "never"
    return key.key_id, key.email, used, clock(key.expire_time)[:10] or "never", key.display_name


@keys_app.command("new")
def new_key(
    context: typer.Context,
    name: Annotated[str, typer.Argument(metavar="[NAME]", help="What it is for.")] = "",
    user: Annotated[str, typer.Option("--user", help="Of this user, by id or e-mail; for admins.")] = "",
    expires: Annotated[str, typer.Option("--expires", metavar="SPAN", help="In so long, as 90d.")] = "",
    as_json: Json = False,
) -> int:
    """Make a key. It is printed this once, and can be read nowhere later."""
    session = session_of(context, as_json)
    ends = now() + timedelta(seconds=seconds_of(expires)) if expires else None
    key = session.longshore.create_key(name, user=user, expires=ends)
    if as_json:
        session.screen.json(dict(key.fields))
    else:
        session.screen.line(key.key)
        session.screen.say(f"key {key.key_id} of {key.email}; it is not shown again", "dim")
    return 0


@keys_app.command("revoke")
def revoke_key(
    context: typer.Context, key_id: Annotated[str, typer.Argument(metavar="KEY")], as_json: Json = False
) -> int:
    """End a key, by its id: within a second it opens nothing."""
    session = session_of(context, as_json)
    session.longshore.revoke_key(key_id)
    return session.screen.done({"id": key_id}, f"revoked: {key_id}")
