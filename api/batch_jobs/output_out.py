"""What a rank left in its folder for outputs, as it is answered."""

from __future__ import annotations

from typing_extensions import TypedDict

from api.batch_jobs.schema_out import time_or_null
from api.wire.times import format_time
from core.jobs.outputs import FileRecord, OutputsRecord


class OutputFileRead(TypedDict):
    """`mode`: its permissions, in octal digits."""

    name: str
    path: str
    sizeBytes: str
    mode: str
    modifyTime: str


class RankOutputsRead(TypedDict):
    """What is kept in all. `collectTime` null: the rank has not ended, or left nothing.

    `leftOutCount`: links, devices and the like, which are never kept. `error`: why not all files are; empty: they
    are. `removeTime`: nothing is kept of it any more since then, and `removeReason` says why; null and empty else.
    """

    fileCount: int
    sizeBytes: str
    leftOutCount: int
    error: str
    collectTime: str | None
    removeTime: str | None
    removeReason: str


class OutputList(TypedDict):
    """`summary` is of all files of the rank, whatever the page and the filter."""

    attempt: int
    summary: RankOutputsRead
    outputs: list[OutputFileRead]
    nextPageToken: str
    totalSize: int


def output_file_read(rank_name: str, record: FileRecord) -> OutputFileRead:
    """A file on the wire."""
    return {
        "name": f"{rank_name}/outputs/{record.path}",
        "path": record.path,
        "sizeBytes": str(record.size_bytes),
        "mode": f"{record.mode:04o}",
        "modifyTime": format_time(record.modified_at),
    }


def rank_outputs_read(record: OutputsRecord) -> RankOutputsRead:
    """What there is of a rank on the wire."""
    return {
        "fileCount": record.file_count,
        "sizeBytes": str(record.byte_count),
        "leftOutCount": record.left_out_count,
        "error": record.error,
        "collectTime": time_or_null(record.collected_at),
        "removeTime": time_or_null(record.removed_at),
        "removeReason": record.removed_because or "",
    }
