"""Exit codes, and the one door at which every error becomes a sentence and one of them.

A job's own code is that of the first rank that failed; those here are of the command itself (after sysexits.h).
"""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable
from typing import Final

import typer

from client.errors import (
    KeyRefused,
    LongshoreError,
    NoConnection,
    NotAllowed,
    NotFound,
    NotNow,
    NotSendable,
    Refused,
    SettingsMissing,
    TimeIsUp,
    TooMuch,
)

OK: Final = 0
REFUSED: Final = 1
USAGE: Final = 2
NOT_SENDABLE: Final = 65
NOT_FOUND: Final = 66
NO_CONNECTION: Final = 69
UNFORESEEN: Final = 70
INCOMPLETE: Final = 74
TIME_IS_UP: Final = 75
NOT_ALLOWED: Final = 77
NO_SETTINGS: Final = 78
DETACHED: Final = 130
#: As a shell says of a program that SIGPIPE ended.
NOBODY_READS: Final = 141

_CODES: dict[type[LongshoreError], int] = {
    NotSendable: NOT_SENDABLE,
    NotFound: NOT_FOUND,
    NoConnection: NO_CONNECTION,
    NotNow: NO_CONNECTION,
    TimeIsUp: TIME_IS_UP,
    TooMuch: TIME_IS_UP,
    KeyRefused: NOT_ALLOWED,
    NotAllowed: NOT_ALLOWED,
    SettingsMissing: NO_SETTINGS,
    LongshoreError: REFUSED,
}
#: What to do about it, where the sentence of the platform does not say.
_WAYS_OUT: dict[type[LongshoreError], str] = {
    NotFound: "longshore ps -a lists what there is",
    NoConnection: "see that LONGSHORE_URL is right and the platform runs",
    KeyRefused: "set LONGSHORE_API_KEY, or the key of the profile",
}


def exit_of(run: Callable[[], int | None], say: Callable[[str], None]) -> int:
    """The exit code of a command; whatever goes wrong is said in a sentence."""
    try:
        code = run() or OK
        # Here, and not where the interpreter ends: nobody could say there what went wrong.
        sys.stdout.flush()
        return code
    except LongshoreError as error:
        say(sentence(error))
        return next(_CODES[cls] for cls in type(error).__mro__ if cls in _CODES)
    except typer.TyperException as error:
        context = getattr(error, "ctx", None)
        said = error.format_message().removeprefix("Invalid value: ")
        say(f"{said} ({context.command_path if context else 'longshore'} --help)")
        return error.exit_code
    except (typer.Abort, KeyboardInterrupt):
        return DETACHED
    except BrokenPipeError:
        return _let_go_of_output()
    except SystemExit as error:
        # Typer makes an exit of its own of a closed pipe.
        if isinstance(error.__context__, BrokenPipeError):
            return _let_go_of_output()
        raise
    except OSError as error:
        say(f"{error.filename or 'this machine'}: {error.strerror or error}")
        return REFUSED
    except Exception as error:  # noqa: BLE001  # the one door: never a traceback
        if os.environ.get("LONGSHORE_DEBUG"):
            traceback.print_exc()
        say(f"this is a fault of longshore itself: {error!r}; LONGSHORE_DEBUG=1 shows where")
        return UNFORESEEN


def sentence(error: LongshoreError) -> str:
    """The error and the way out, in one line."""
    said = " ".join(str(error).split())
    if isinstance(error, Refused) and error.faults:
        said = "; ".join(f"{fault.field}: {fault.description}" for fault in error.faults)
    way = next((_WAYS_OUT[cls] for cls in type(error).__mro__ if cls in _WAYS_OUT), "")
    return f"{said}; {way}" if way else said


def _let_go_of_output() -> int:
    """Whoever read it is gone; the interpreter is not to flush to it once more."""
    nothing = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, sys.stdout.fileno())
    os.close(nothing)
    return NOBODY_READS
