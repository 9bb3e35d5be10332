"""Outputs of ranks without an engine: an archive as engines give it, packed and recorded as a supervisor does."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Mapping

from core.database import Database
from core.jobs.object_paths import rank_outputs_path
from core.jobs.outputs import CollectedOutputs, record_outputs
from core.object_store import ObjectStore
from core.output_packing import Limits, OutputPacking

MODIFIED_AT = 1_767_225_600  # 2026-01-01T00:00:00Z


def engine_archive(files: Mapping[str, bytes]) -> bytes:
    """The folder as an engine gives it."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        folder = tarfile.TarInfo("outputs")
        folder.type = tarfile.DIRTYPE
        tar.addfile(folder)
        for path, content in files.items():
            file = tarfile.TarInfo(f"outputs/{path}")
            file.size, file.mtime = len(content), MODIFIED_AT
            tar.addfile(file, io.BytesIO(content))
    return packed.getvalue()


def leave_outputs(
    database: Database,
    store_url: str,
    job_id: str,
    files: Mapping[str, bytes],
    *,
    attempt: int = 1,
    rank: int = 0,
    error: str = "",
) -> None:
    """A rank of the job of this key has left these files."""
    packing = OutputPacking(Limits(1 << 30, 10_000))
    path = rank_outputs_path(job_id, attempt, rank)
    size = ObjectStore(store_url).write(path, packing.parts(iter([engine_archive(files)])))
    found = CollectedOutputs(path, size, packing.byte_count, packing.other_count, error, tuple(packing.files))
    record_outputs(database, job_id, attempt, rank, found)
