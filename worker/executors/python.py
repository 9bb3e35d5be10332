"""`python -m target args…` or `python target args…`, by `python` or else `python3` of the image."""

from __future__ import annotations

from core.spec import PythonExecutor
from worker.executors.invocation import FIND_PYTHON, NOT_FOUND, UNBUFFERED, Invocation
from worker.output_folder import MAKE_FOLDER

_MODULE = f'{MAKE_FOLDER}\n{FIND_PYTHON}\nexec "$py" -m "$@"'
_FILENAME = f"""{MAKE_FOLDER}
{FIND_PYTHON}
[ -e "$1" ] || {{ echo "there is no file $1 in the image (working directory: $(pwd))" >&2; exit {NOT_FOUND}; }}
exec "$py" "$@\""""


def python_invocation(executor: PythonExecutor) -> Invocation:
    """The shell finds the interpreter and is then replaced by it, so that signals reach the program."""
    script = _MODULE if executor.target_type == "MODULE" else _FILENAME
    return Invocation(
        "python",
        ("/bin/sh", "-c"),
        (script, "longshore", executor.target, *executor.args),
        UNBUFFERED,
        makes_output_folder=True,
    )
