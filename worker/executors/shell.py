"""A string by the image's own shell, exactly as `sh -c` runs it, once the folder for outputs is there."""

from __future__ import annotations

from core.spec import ShellExecutor
from worker.executors.invocation import Invocation
from worker.output_folder import MAKE_FOLDER

#: The shell is replaced by a second one: what is put before a script would change how it ends, which signals reach
#: it, and the numbers of its lines.
_SCRIPT = f'{MAKE_FOLDER}\nexec /bin/sh -c "$1"'


def shell_invocation(executor: ShellExecutor) -> Invocation:
    """The string is an argument, so that nothing in it has to be quoted."""
    return Invocation(
        "shell", ("/bin/sh", "-c"), (_SCRIPT, "longshore", executor.command), makes_output_folder=True
    )
