"""Files that come with a job, and the notebook that does: their kinds, names and sizes. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from itertools import accumulate

import orjson

from api.wire.proto_json import UNREADABLE, Faults, Kind, key_path, map_of
from core.errors import FieldViolation
from core.spec import FileMark

MAX_FILES = 100
MAX_NAME_BYTES = 255
#: Where a notebook goes that comes without a name.
NOTEBOOK_NAME = "notebook.ipynb"
_SURROGATE = "must not hold half of a surrogate pair"


def _read_text(value: object, path: str, faults: Faults) -> object:
    """The bytes of a text. Unlike other strings it may hold NUL characters: it is kept as it is."""
    if not isinstance(value, str):
        faults.append(FieldViolation(path, "must be a string"))
        return UNREADABLE
    try:
        return value.encode()
    except UnicodeEncodeError:
        faults.append(FieldViolation(path, _SURROGATE))
        return UNREADABLE


def _read_notebook(value: object, path: str, faults: Faults) -> bytes:
    """The bytes of a notebook, given as the JSON object that it is or as the text of that.

    b"" after a fault has been noted: a content was given, if no good one.
    """
    try:
        content = value.encode() if isinstance(value, str) else orjson.dumps(value)
    except (UnicodeEncodeError, orjson.JSONEncodeError):
        faults.append(FieldViolation(path, _SURROGATE))
        return b""
    try:
        notebook = json.loads(content) if isinstance(value, str) else value
    except (ValueError, RecursionError):
        notebook = None
    if not isinstance(notebook, dict) or not isinstance(notebook.get("nbformat"), int):
        faults.append(FieldViolation(path, "must be a notebook: JSON, an object with nbformat"))
        return b""
    return content


TEXT_FILES = map_of(Kind(_read_text, {"type": "string"}))
NOTEBOOK = Kind(_read_notebook, {"anyOf": [{"type": "object"}, {"type": "string"}]})


def name_fault(name: str) -> str:
    """What is wrong with a file's name; "" = nothing."""
    if len(name.encode()) > MAX_NAME_BYTES:
        return f"a file's name must be of at most {MAX_NAME_BYTES} bytes"
    if not name.isprintable():
        return "a file's name must not hold control characters"
    if any(part in ("", ".", "..") for part in name.split("/")):
        return "a file's name must be a relative path below the working directory, such as src/train.py"
    return ""


def name_violations(names: Mapping[str, object], path: str) -> Iterator[FieldViolation]:
    """Of the names of a map of files."""
    for name in names:
        fault = name_fault(name)
        if fault:
            yield FieldViolation(key_path(path, name), fault)


def whole_violations(files: Mapping[str, FileMark], max_bytes: int) -> Iterator[FieldViolation]:
    """Of all files of a job together: those that a clone has from the other job are among them."""
    if len(files) > MAX_FILES:
        yield FieldViolation("files", f"must be at most {MAX_FILES}, not {len(files)}")
    total = sum(mark.size_bytes for mark in files.values())
    if total > max_bytes:
        yield FieldViolation(
            "files", f"with the notebook's content must be of at most {max_bytes:,} bytes, not {total:,}"
        )
    for name in files:
        *folders, _ = accumulate(name.split("/"), lambda above, part: f"{above}/{part}")
        for folder in folders:
            if folder in files:
                yield FieldViolation(key_path("files", name), f"is below {folder}, which is a file")
