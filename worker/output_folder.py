"""Where a rank leaves its outputs: the folder in its container, made before its command runs. Pure.

Where the image's user is root and the command is begun by a script of ours, that script makes the folder, which
costs some 3 ms; else it is unpacked into the container, which costs an engine some fifty. Either way it
bears a time stamp that nothing else has, until something is made in it: one short call tells then whether there is
anything to collect, where to read an empty folder would cost another fifty.
"""

from __future__ import annotations

import io
import tarfile
from datetime import UTC, datetime

#: What ranks know it by, and where it is. Anybody may write there: the command's user may be anyone.
VARIABLE = "LONGSHORE_OUTPUT_DIR"
OUTPUT_FOLDER = "/longshore/outputs"
_MODE = 0o1777
#: The stamp of a folder in which nothing was made yet. In the past, so that no clock comes to it, and odd, so that
#: no archive has it that is unpacked there.
UNTOUCHED_AT = datetime(1971, 2, 3, 4, 5, 6, tzinfo=UTC)

#: A line of a shell script; whatever it cannot do, the command runs all the same. A folder that the image brings
#: along stays as it is.
MAKE_FOLDER = (
    f"[ -e {OUTPUT_FOLDER} ] || {{ mkdir -p -m {_MODE:o} {OUTPUT_FOLDER}"
    f" && TZ=UTC0 touch -t {UNTOUCHED_AT:%Y%m%d%H%M.%S} {OUTPUT_FOLDER}; }} 2>/dev/null"
)


def is_root(user: str) -> bool:
    """Whether an image's user, as its configuration has it, may make a folder anywhere."""
    return user.partition(":")[0] in ("", "root", "0")


def folder_archive(made_at: datetime) -> bytes:
    """A tar of the folder alone, for the container's root."""
    parent, _, name = OUTPUT_FOLDER.strip("/").partition("/")
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        for path, mode in ((parent, 0o755), (f"{parent}/{name}", _MODE)):
            folder = tarfile.TarInfo(path)
            folder.type, folder.mode, folder.mtime = tarfile.DIRTYPE, mode, int(made_at.timestamp())
            tar.addfile(folder)
    return packed.getvalue()
