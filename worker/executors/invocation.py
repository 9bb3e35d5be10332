"""The form that every executor gives its answer in, and the interpreter search that two of them share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Invocation:
    """`entrypoint` None keeps the image's own; `environment` gives way to the user's.

    `makes_output_folder`: it does so itself, where the image's user may.
    """

    kind: str
    entrypoint: tuple[str, ...] | None
    command: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)
    makes_output_folder: bool = False


#: Exit status of a command that does not exist (POSIX shell, 2.8.2): what a missing interpreter or file is.
NOT_FOUND = 127

#: Sets `py` to the image's interpreter. What it prints becomes the last line, and so the job's status.
FIND_PYTHON = (
    "py=$(command -v python) || py=$(command -v python3) || "
    f'{{ echo "the image has neither python nor python3 on its PATH" >&2; exit {NOT_FOUND}; }}'
)

#: Output is to be seen when it is printed, not when a buffer of 8 KiB is full.
UNBUFFERED = {"PYTHONUNBUFFERED": "1"}
