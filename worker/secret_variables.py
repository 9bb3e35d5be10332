"""Secret variables on their way into a container, past everything that an engine would show of it. Pure.

A variable of a container's configuration is shown by `docker inspect` to whoever may speak to the engine, and
kept in its files. So the values go in as a file, just before the start; a shell reads it, empties and removes
it, and is replaced by the command, which finds plain variables. The file's folder is everyone's to write in,
because the image's user may be anyone; it has no other use.
"""

from __future__ import annotations

import io
import tarfile
from collections.abc import Mapping, Sequence

from pydantic import SecretStr

SHELL = "/bin/sh"
_FOLDER = ".longshore"
_FILE = f"{_FOLDER}/environment"
_AT = f"/{_FILE}"

#: No variable is used, for it might be one of the user's; no program either, but for `rm`: emptying the file is
#: done by the shell itself. What the shell says of a value that it does not take could show that value.
_READ = f"""[ -s {_AT} ] || {{ echo "the secret variables are not in the container" >&2; exit 125; }}
. {_AT} 2>/dev/null
: >{_AT}
PATH=/bin:/usr/bin rm -f {_AT} 2>/dev/null
[ ! -s {_AT} ] || {{ echo "the secret variables could not be removed from the container" >&2; exit 125; }}
exec "$@\""""


def with_secret_variables(command: Sequence[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The entrypoint and the command that run `command` once the variables are set. Signals reach it."""
    return (SHELL, "-c"), (_READ, "longshore", *command)


def secret_variables_archive(variables: Mapping[str, SecretStr]) -> bytes:
    """What is unpacked into the container's root: a tar of the folder and the file of `export` lines."""
    lines = [f"export {name}={_quoted(value.get_secret_value())}\n" for name, value in variables.items()]
    content = "".join(lines).encode()
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        folder = tarfile.TarInfo(_FOLDER)
        folder.type, folder.mode = tarfile.DIRTYPE, 0o777
        tar.addfile(folder)
        file = tarfile.TarInfo(_FILE)
        file.size, file.mode = len(content), 0o666
        tar.addfile(file, io.BytesIO(content))
    return packed.getvalue()


def _quoted(value: str) -> str:
    """As one word of a POSIX shell: all but the single quote stands for itself in single quotes."""
    return "'" + value.replace("'", "'\\''") + "'"
