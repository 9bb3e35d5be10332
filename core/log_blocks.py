"""Where an attempt's stored output is read from: rows, or, once it has been packed, objects. Chunk by chunk.

An attempt is in the one or in the other, and which is decided once, in the snapshot of the database in which the
rows would be read: whatever is packed or deleted meanwhile, a reader sees all of it. No transaction is open while
the object store is asked.
"""

from __future__ import annotations

import zlib
from bisect import bisect_left, bisect_right
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

from sqlalchemy import Connection, select, text

from core.database import Database
from core.errors import NoObjectStore, NotFound, OutputRemoved, Unavailable
from core.log_packing import Block, OpenBlock, blocks_from, decode_index, open_block
from core.log_records import LogRecord, decode_records
from core.models import LogChunk, LogObject, PackedAttempt
from core.object_store import ObjectStore

# Steps into an index for each rank of the attempt, however much they have printed.
_RANKS_WITH_OUTPUT = text(
    "SELECT r.rank FROM ranks r CROSS JOIN LATERAL (SELECT 1 FROM log_chunks c WHERE c.job_id = r.job_id"
    " AND c.attempt = r.attempt AND c.rank = r.rank ORDER BY c.seq LIMIT 1) printed"
    " WHERE r.job_id = :job AND r.attempt = :attempt"
)
# Times never go back within a rank: the first chunk that reaches `:since` is found by halving.
_FIRST_SINCE = text(
    "WITH RECURSIVE halves(low, high) AS ("
    " SELECT 0, coalesce((SELECT max(seq) + 1 FROM log_chunks"
    " WHERE job_id = :job AND attempt = :attempt AND rank = :rank), 0)"
    " UNION ALL"
    " SELECT CASE WHEN middle.last_ns < :since THEN middle.seq + 1 ELSE low END,"
    " CASE WHEN middle.last_ns < :since THEN high ELSE (low + high) / 2 END"
    " FROM halves CROSS JOIN LATERAL (SELECT c.seq, c.last_ns FROM log_chunks c WHERE c.job_id = :job"
    " AND c.attempt = :attempt AND c.rank = :rank AND c.seq >= (low + high) / 2 ORDER BY c.seq LIMIT 1) middle"
    " WHERE low < high)"
    " SELECT max(low) FROM halves"
)

#: Blocks of one reader that are unpacked at the same time. With more ranks than this some are read again.
_OPEN_BLOCKS = 64


@dataclass(frozen=True, slots=True)
class StoredChunk:
    """A chunk as it was stored, wherever it is now."""

    seq: int
    records: Sequence[LogRecord]


@dataclass(frozen=True, slots=True)
class KeptObject:
    """What a row says of one rank's object."""

    path: str
    block_index: bytes


class ObjectGone(Unavailable):
    """A row leads to an object that is not there."""


class RangeReader(Protocol):
    """As `ObjectStore.read` is, asked for a part of an object."""

    def __call__(self, path: str, *, start: int, length: int) -> bytes: ...


class StoredOutput(Protocol):
    """One attempt's output. Raises Unavailable where the database or the object store does not answer."""

    def ranks(self) -> list[int]:
        """Those that have any."""

    def next_chunk(self, rank: int, seq: int | None, *, from_head: bool, since_ns: int) -> StoredChunk | None:
        """The first chunk at `seq` or beyond it in reading order (None: at all); None where there is none.

        Chunks all of whose records are before `since_ns` may be left out.
        """


@contextmanager
def stored_output(
    database: Database, store: ObjectStore | None, job_id: str, attempt: int, ranks: Sequence[int] | None
) -> Iterator[StoredOutput]:
    """The output of these ranks of an attempt, or of all.

    Raises NoObjectStore where it has been packed and there is no `store`; OutputRemoved where its retention is
    over, also where that comes to be while it is read.
    """
    with database.snapshot() as connection:
        if not _is_packed(connection, job_id, attempt):
            yield RowOutput(connection, job_id, attempt)
            return
        kept = _kept(connection, job_id, attempt, ranks)
    if store is None:
        raise NoObjectStore(
            "what this attempt printed is in the object store, and LONGSHORE_OBJECT_STORE_URL does not say where"
        )
    try:
        yield ObjectOutput(store.read, kept)
    except ObjectGone:
        with database.transaction() as connection:
            _is_packed(connection, job_id, attempt)
        raise


def _is_packed(connection: Connection, job_id: str, attempt: int) -> bool:
    """Raises OutputRemoved."""
    packed = connection.execute(
        select(PackedAttempt.removed_at, PackedAttempt.removed_because).where(
            PackedAttempt.job_id == job_id, PackedAttempt.attempt == attempt
        )
    ).first()
    if packed is not None and packed.removed_at is not None:
        raise OutputRemoved(f"the output of attempt {attempt}", packed.removed_at, packed.removed_because)
    return packed is not None


def _kept(connection: Connection, job_id: str, attempt: int, ranks: Sequence[int] | None) -> dict[int, KeptObject]:
    query = select(LogObject.rank, LogObject.path, LogObject.block_index).where(
        LogObject.job_id == job_id, LogObject.attempt == attempt
    )
    if ranks is not None:
        query = query.where(LogObject.rank.in_(set(ranks)))
    return {row.rank: KeptObject(*row[1:]) for row in connection.execute(query)}


class RowOutput:
    """Output in rows, in the snapshot of a connection."""

    def __init__(self, connection: Connection, job_id: str, attempt: int) -> None:
        self._connection = connection
        self._names = {"job": job_id, "attempt": attempt}
        self._of_attempt = (LogChunk.job_id == job_id, LogChunk.attempt == attempt)

    def ranks(self) -> list[int]:
        return [rank for (rank,) in self._connection.execute(_RANKS_WITH_OUTPUT, self._names)]

    def next_chunk(self, rank: int, seq: int | None, *, from_head: bool, since_ns: int) -> StoredChunk | None:
        if seq is None and from_head and since_ns:
            seq = self._connection.execute(
                _FIRST_SINCE, {**self._names, "rank": rank, "since": since_ns}
            ).scalar_one()
        query = select(LogChunk.seq, LogChunk.payload).where(*self._of_attempt, LogChunk.rank == rank)
        if seq is not None:
            query = query.where(LogChunk.seq >= seq if from_head else LogChunk.seq <= seq)
        order = LogChunk.seq if from_head else LogChunk.seq.desc()
        chunk = self._connection.execute(query.order_by(order).limit(1)).first()
        return None if chunk is None else StoredChunk(chunk.seq, list(decode_records(chunk.payload)))


class ObjectOutput:
    """Output in objects: of each only the blocks that are asked for are read."""

    def __init__(self, read: RangeReader, kept: Mapping[int, KeptObject]) -> None:
        self._read_range, self._kept = read, kept
        self._indexes: dict[int, list[Block]] = {}
        self._open: OrderedDict[tuple[int, int], OpenBlock] = OrderedDict()

    def ranks(self) -> list[int]:
        return list(self._kept)

    def next_chunk(self, rank: int, seq: int | None, *, from_head: bool, since_ns: int) -> StoredChunk | None:
        if rank not in self._kept:
            return None
        if rank not in self._indexes:
            self._indexes[rank] = decode_index(self._kept[rank].block_index)
        for number in blocks_from(self._indexes[rank], seq, from_head=from_head, since_ns=since_ns):
            block = self._block(rank, number)
            if seq is None:
                at = 0 if from_head else len(block.seqs) - 1
            elif from_head:
                at = bisect_left(block.seqs, seq)
            else:
                at = bisect_right(block.seqs, seq) - 1
            if 0 <= at < len(block.seqs):
                return StoredChunk(block.seqs[at], block.chunk(at))
        return None

    def _block(self, rank: int, number: int) -> OpenBlock:
        found = self._open.pop((rank, number), None)
        if found is None:
            found = self._read(self._kept[rank].path, self._indexes[rank][number])
        self._open[rank, number] = found
        if len(self._open) > _OPEN_BLOCKS:
            self._open.popitem(last=False)
        return found

    def _read(self, path: str, block: Block) -> OpenBlock:
        # An object that is not there is never an empty log: it is being removed, or somebody has lost it.
        try:
            return open_block(block, self._read_range(path, start=block.offset, length=block.length))
        except NotFound as error:
            raise ObjectGone(str(error)) from error
        except zlib.error as error:
            raise Unavailable(f"the object store has something else than a log at {path}: {error}") from error
