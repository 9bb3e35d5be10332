"""`longshore doctor`: whether the platform can be used from here, and what to do where it cannot."""

from __future__ import annotations

import typer

from client.command_line.health import CHECKS, Platform
from client.command_line.screen import plain
from client.command_line.session import Json, session_of
from client.findings import Found, each_found, has_fault, tally


def doctor(context: typer.Context, as_json: Json = False) -> int:
    """Say what is wrong between here and the platform, and its cure; exits with 1 where there is a fault."""
    session = session_of(context, as_json)
    screen = session.screen
    found: list[Found] = []
    for each in each_found(CHECKS, Platform(session)):
        found.append(each)
        if not as_json:
            screen.line(plain(each.line))
            screen.out.file.flush()
    failed = has_fault(found)
    if as_json:
        screen.json({"healthy": not failed, "checks": [each.document for each in found]})
    else:
        screen.say(f"{tally(found)}; deploy/doctor, on the platform's host, looks at the rest")
    return int(failed)
