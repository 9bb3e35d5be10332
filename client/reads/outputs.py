"""Files that ranks left in their folder for outputs, as they are answered."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from client.reads.wire import Read


@dataclass(frozen=True, kw_only=True)
class OutputFile(Read):
    """A file of a rank. `mode` is its permissions in octal digits.

    `path` is what the rank called it: whoever writes it to a disk sees to it that it leads nowhere else.
    """

    path: str = ""
    size_bytes: int = 0
    mode: str = ""
    modify_time: datetime | None = None
    rank: int = 0


@dataclass(frozen=True, kw_only=True)
class RankOutputs(Read):
    """What is kept of one rank's outputs. `collect_time` None: it left nothing, or has not ended.

    `left_out_count`: links and devices, which are never kept. `error`: why not all files are; "" = they are.
    """

    file_count: int = 0
    size_bytes: int = 0
    left_out_count: int = 0
    error: str = ""
    collect_time: datetime | None = None
    remove_time: datetime | None = None
    remove_reason: str = ""
    rank: int = 0
    files: tuple[OutputFile, ...] = ()
