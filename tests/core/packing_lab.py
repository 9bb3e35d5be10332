"""Attempts with output in rows, of jobs without an engine, and the process that is killed while it packs them."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from core.database import Database
from core.failpoints import VARIABLE, Point
from core.jobs.retention import Retention
from core.log_records import LogRecord
from core.logs import ChunkToStore, LogEntry, Position, append_chunks, read_page
from core.object_store import ObjectStore
from tests.core.attempts_lab import RowsOnly
from worker.packer import KEEP_ALL, Packer

ROOT = Path(__file__).resolve().parents[2]
#: Where a process that packs or removes may die: `test_packing` and `test_retention` kill one at each.
PACKING_CRASHES = (Point.OBJECTS_WRITTEN, Point.OUTPUT_PACKED)
CRASHES = (*PACKING_CRASHES, Point.OUTPUT_REMOVED, Point.OBJECTS_REMOVED)
#: The retention of the process that dies: of what the tests have made older, and of nothing else.
DAYS = 30


class PackingLab:
    """A pool in rows, and an object store in a folder."""

    def __init__(self, database: Database, folder: Path) -> None:
        self.rows = RowsOnly(database)
        self.database = database
        self.folder = folder
        self.store = ObjectStore(folder.as_uri())
        self._chance = random.Random(7)  # the same output every time

    def packer(
        self, compact_after_seconds: float = 0, *, retention: Retention = KEEP_ALL, **more: float
    ) -> Packer:
        """A worker's, which waits for nothing."""
        return Packer(
            self.database, self.store, compact_after_seconds=compact_after_seconds, retention=retention, **more
        )

    def pack(self) -> None:
        """What is due is packed, if nothing keeps it from that."""
        self.packer().step()

    def printed(self, ranks: int = 2, *, chunks: int = 40, silent: Sequence[int] = ()) -> str:
        """A job that runs, and whose ranks have printed."""
        job_id = self.rows.run(ranks)
        for rank in set(range(ranks)) - set(silent):
            for seq in range(chunks):
                self.say(job_id, rank, seq)
        return job_id

    def say(self, job_id: str, rank: int, seq: int, *, attempt: int = 1, lines: int = 7) -> None:
        """One chunk, with lines at times that other ranks' come between."""
        records = [
            LogRecord(
                1 + seq * 1000 + line * 10 + rank,
                self._chance.choice([1, 2]),
                f"{rank} {seq} {line} {self._chance.random()}\n".encode(),
            )
            for line in range(lines)
        ]
        append_chunks(self.database, [ChunkToStore(job_id, attempt, rank, seq, records, seq, 1)])

    def end(self, job_id: str, code: int = 0) -> None:
        """All ranks of its attempt end, and their containers go."""
        job = self.rows.job(job_id)
        ranks = range(job.spec.num_ranks)
        for rank in ranks:
            self.rows.exit(job_id, rank, code)
        self.rows.release(job_id, *ranks, attempt=job.attempt)

    def ended(self, ranks: int = 2, *, chunks: int = 40, silent: Sequence[int] = ()) -> str:
        """A job that has ended, with its output in rows."""
        job_id = self.printed(ranks, chunks=chunks, silent=silent)
        self.end(job_id)
        return job_id

    def read(
        self, job_id: str, *, from_head: bool = True, attempt: int = 1, limit: int = 97
    ) -> list[tuple[LogEntry, dict[int, Position]]]:
        """All entries by pages, each with the place that its page ended at."""
        found: list[tuple[LogEntry, dict[int, Position]]] = []
        positions: dict[int, Position] = {}
        while True:
            page = read_page(
                self.database,
                job_id,
                attempt,
                store=self.store,
                ranks=None,
                limit=limit,
                from_head=from_head,
                positions=positions,
            )
            positions = dict(page.positions)
            found += [(entry, positions) for entry in page.entries]
            if not page.has_more:
                return found

    def chunk_count(self, job_id: str) -> int:
        """Of its output, in rows."""
        ((count,),) = self.rows.execute("SELECT count(*) FROM log_chunks WHERE job_id = :j", job_id)
        return int(count)

    def packed(self, job_id: str) -> list[int]:
        """Its attempts that have been."""
        found = self.rows.execute("SELECT attempt FROM packed_attempts WHERE job_id = :j ORDER BY 1", job_id)
        return [row.attempt for row in found]

    def paths(self, job_id: str) -> list[str]:
        """Its objects."""
        return sorted(self.store.paths_below(f"logs/{job_id}/"))

    def die_at(self, point: Point, subject: str, orders: Path) -> None:
        """A process packs, and is killed at that point."""
        orders.mkdir(exist_ok=True)
        order = orders / f"{point.value}.1"
        order.write_text(f"kill {subject}")
        died = subprocess.run(
            [sys.executable, "-m", "tests.core.packing_lab", self.database.url, self.folder.as_uri()],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT), VARIABLE: str(orders)},
            timeout=120,
            check=False,
        )
        assert died.returncode == -signal.SIGKILL, "it came to the point"
        assert not order.exists()


if __name__ == "__main__":
    Packer(
        Database(sys.argv[1]), ObjectStore(sys.argv[2]), compact_after_seconds=0, retention=Retention(days=DAYS)
    ).step()
