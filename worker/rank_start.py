"""The start of one rank's container, by whoever holds the rank: once, whatever has been tried before."""

from __future__ import annotations

import io
import tarfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from core.errors import CommandNotStarted, ContainerGone, EngineError, NodeUnreachable, StartInDoubt
from worker.engine import Engine, Observation
from worker.output_folder import OUTPUT_FOLDER, UNTOUCHED_AT, folder_archive
from worker.secret_variables import SHELL
from worker.step_lease import StepLease

_SCRIPT = b"#!"


@dataclass(frozen=True)
class Contents:
    """What goes into a container just before its start, as tars: files, for its working directory, and secret
    variables. Whoever starts it puts them there: until then there is nothing in it."""

    files: bytes | None = None
    secrets: bytes | None = None


def files_archive(files: Mapping[str, bytes]) -> bytes:
    """A tar of files by their relative paths, everyone's to read; those that begin with `#!` may be run."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        for name, content in files.items():
            file = tarfile.TarInfo(name)
            file.size, file.mtime = len(content), int(time.time())
            file.mode = 0o755 if content.startswith(_SCRIPT) else 0o644
            tar.addfile(file, io.BytesIO(content))
    return packed.getvalue()


def put_output_folder(engine: Engine, container: str, held: StepLease) -> None:
    """Make the folder for a rank's outputs in a container that is not started yet; one that its image brings along
    stays as it is.

    Somebody else may have started it if this step was frozen meanwhile: then what was left in the folder by then
    must not look like nothing, and so its stamp is made an ordinary one.
    """
    if engine.has_path(container, OUTPUT_FOLDER):
        return
    held.require()
    engine.unpack(container, folder_archive(UNTOUCHED_AT))
    if held.is_over:
        engine.unpack(container, folder_archive(datetime.now(UTC)))


def start_once(
    engine: Engine, container: str, contents: Contents, held: StepLease, *, looked_at: bool
) -> datetime | EngineError | None:
    """Start a container; when it was started, why it could not be, or None where nobody knows yet.

    `looked_at`: its first starter died or is slow, and starting an ended container would run it twice.
    """
    try:
        if looked_at:
            seen = engine.observe(container)
            if seen is None:
                return ContainerGone("its container vanished before it was started")
            if seen.status != "created":
                return seen.started_at
            if _may_have_run(engine, seen):
                return StartInDoubt("its engine was restarted meanwhile, and whether it ran is not known")
        if contents.files is not None:
            engine.unpack(container, contents.files, _working_directory(engine, container))
        if contents.secrets is not None:
            if not engine.has_path(container, SHELL):
                return CommandNotStarted(f"the image has no {SHELL}, which sets secretEnvVars")
            engine.unpack(container, contents.secrets)
        held.require()
        engine.start(container)
    except NodeUnreachable:
        return None
    except EngineError as error:
        return error
    return datetime.now(UTC)


def _working_directory(engine: Engine, container: str) -> str:
    """The job's, or else its image's. Raises ContainerGone."""
    seen = engine.observe(container)
    if seen is None:
        raise ContainerGone("its container vanished before it was started")
    return seen.working_directory


def _may_have_run(engine: Engine, seen: Observation) -> bool:
    """Whether a container that its engine calls created may have run all the same. An engine notes a start when
    the program runs already: one that dies in between forgets it, and would run the program again."""
    began = engine.started_at()
    return began is not None and seen.created_at is not None and seen.created_at < began
