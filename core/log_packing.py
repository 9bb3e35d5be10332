"""One rank's chunks as one object, and back. Pure: bytes in, bytes out.

An object is blocks, one after the other, each zlib-compressed by itself: a table of the chunks in it (u32 how
many, then for each u32 how far its seq is from the one before and u32 how many bytes its records are), then the
records of those chunks as `core.log_records` lays them out. All little-endian. So a place in the output, (seq,
index), means after the packing what it meant before. The index of the blocks is not in the object: it is kept in
the row that has the object's path.
"""

from __future__ import annotations

import struct
import zlib
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from core.log_records import LogRecord, records_in

#: Records of a block, before compression: what the reader of one line has to unpack.
BLOCK_BYTES = 256 << 10
_COUNT = struct.Struct("<I")
_CHUNK = struct.Struct("<II")
_BLOCK = struct.Struct("<IIQQ")
_LEVEL = 1


@dataclass(frozen=True, slots=True)
class PackedChunk:
    """A chunk as it is stored in a row."""

    seq: int
    first_ns: int
    last_ns: int
    payload: bytes


@dataclass(frozen=True, slots=True)
class Block:
    """Where a block is in its object, and what is in it."""

    offset: int
    length: int
    first_seq: int
    first_ns: int
    last_ns: int


@dataclass
class Packing:
    """Chunks on their way into an object. The same chunks give the same bytes, whoever packs them."""

    blocks: list[Block] = field(default_factory=list)

    def parts(self, chunks: Iterable[PackedChunk]) -> Iterator[bytes]:
        """The object's bytes, from chunks in the order of their seq; `blocks` is complete when they are."""
        offset, held, size = 0, list[tuple[PackedChunk, bytes]](), 0
        for chunk in chunks:
            raw = zlib.decompress(chunk.payload)
            if held and size + len(raw) > BLOCK_BYTES:
                yield (part := self._pack(held, offset))
                offset, held, size = offset + len(part), [], 0
            held.append((chunk, raw))
            size += len(raw)
        if held:
            yield self._pack(held, offset)

    def _pack(self, held: Sequence[tuple[PackedChunk, bytes]], offset: int) -> bytes:
        seqs = [chunk.seq for chunk, _ in held]
        gaps = [0, *(seq - before for before, seq in pairwise(seqs))]
        table = [_CHUNK.pack(gap, len(raw)) for gap, (_, raw) in zip(gaps, held, strict=True)]
        part = zlib.compress(b"".join([_COUNT.pack(len(held)), *table, *(raw for _, raw in held)]), _LEVEL)
        first, last = held[0][0], held[-1][0]
        self.blocks.append(Block(offset, len(part), first.seq, first.first_ns, last.last_ns))
        return part


@dataclass(frozen=True)
class OpenBlock:
    """A block, unpacked. `seqs` are those of its chunks, `ends` where the records of each end in `raw`."""

    seqs: Sequence[int]
    ends: Sequence[int]
    raw: bytes

    def chunk(self, number: int) -> list[LogRecord]:
        """The records of one of its chunks."""
        return list(records_in(self.raw[self.ends[number - 1] if number else 0 : self.ends[number]]))


def open_block(block: Block, part: bytes) -> OpenBlock:
    """What is in a block. Raises zlib.error where the bytes are not those of a block."""
    unpacked = zlib.decompress(part)
    (count,) = _COUNT.unpack_from(unpacked)
    begin = _COUNT.size + count * _CHUNK.size
    seqs, ends, seq, end = [], [], block.first_seq, 0
    for gap, size in _CHUNK.iter_unpack(unpacked[_COUNT.size : begin]):
        seq, end = seq + gap, end + size
        seqs.append(seq)
        ends.append(end)
    return OpenBlock(seqs, ends, unpacked[begin:])


def encode_index(blocks: Iterable[Block]) -> bytes:
    """The blocks of an object, in order, in a form to be kept."""
    return zlib.compress(
        b"".join(_BLOCK.pack(each.length, each.first_seq, each.first_ns, each.last_ns) for each in blocks)
    )


def decode_index(kept: bytes) -> list[Block]:
    """What `encode_index` was given."""
    blocks, offset = [], 0
    for length, first_seq, first_ns, last_ns in _BLOCK.iter_unpack(zlib.decompress(kept)):
        blocks.append(Block(offset, length, first_seq, first_ns, last_ns))
        offset += length
    return blocks


def blocks_from(blocks: Sequence[Block], seq: int | None, *, from_head: bool, since_ns: int) -> Iterator[int]:
    """The numbers of the blocks that may hold the next chunk: of that seq or beyond it, in reading order."""
    # The block that begins at the seq or before it: earlier ones end before that, later ones begin after it.
    if seq is None:
        at = 0 if from_head else len(blocks) - 1
    else:
        at = bisect_right(blocks, seq, key=lambda block: block.first_seq) - 1
    for number in range(max(at, 0), len(blocks)) if from_head else range(at, -1, -1):
        if blocks[number].last_ns >= since_ns:
            yield number
