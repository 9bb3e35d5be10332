"""What is kept of a folder as an engine gives it: plain files, as far as they fit, byte for byte."""

from __future__ import annotations

import io
import tarfile
import tracemalloc
from collections.abc import Iterator, Sequence

import pytest

from core.errors import EngineError
from core.output_packing import Limits, OutputPacking

AMPLE = Limits(1 << 40, 1000)


def archive(*members: tuple[str, bytes | str | None]) -> bytes:
    """A folder and in it files (bytes), symbolic links (text) and named pipes (None)."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w", format=tarfile.GNU_FORMAT) as tar:
        top = tarfile.TarInfo("outputs")
        top.type = tarfile.DIRTYPE
        tar.addfile(top)
        for name, content in members:
            entry = tarfile.TarInfo(name)
            entry.mode, entry.mtime = 0o4755, 1_700_000_000
            if isinstance(content, bytes):
                entry.size = len(content)
                tar.addfile(entry, io.BytesIO(content))
                continue
            entry.type = tarfile.FIFOTYPE if content is None else tarfile.SYMTYPE
            entry.linkname = content or ""
            tar.addfile(entry)
    return packed.getvalue()


def packed(data: bytes, limits: Limits = AMPLE, piece: int = 777) -> tuple[OutputPacking, bytes]:
    packing = OutputPacking(limits)
    pieces = (data[begin : begin + piece] for begin in range(0, len(data), piece))
    return packing, b"".join(packing.parts(pieces))


def kept(packing: OutputPacking) -> Sequence[str]:
    return [file.path for file in packing.files]


def test_nothing_at_all_is_a_folder_that_is_not_there() -> None:
    packing, data = packed(b"")
    assert (data, kept(packing), packing.is_whole) == (b"", [], True)


def test_files_are_where_the_index_says_and_in_a_tar_that_anything_reads() -> None:
    files = {"a": b"1" * 1000, "ä/ü": b"", "deep/" * 60 + "z": bytes(range(256)) * 5}
    packing, data = packed(archive(*((f"outputs/{path}", content) for path, content in files.items())))
    assert {file.path: data[file.offset : file.offset + file.size] for file in packing.files} == files
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        found = {each.name: (each.mode, each.mtime, tar.extractfile(each)) for each in tar}
    assert {path: file.read() for path, (_, _, file) in found.items() if file} == files
    assert {(mode, time) for mode, time, _ in found.values()} == {(0o755, 1_700_000_000)}
    assert packing.is_whole and packing.byte_count == packing.found_bytes == sum(map(len, files.values()))


def test_links_devices_and_names_that_lead_elsewhere_are_counted_and_left_out() -> None:
    data = archive(
        ("outputs/good", b"1"),
        ("outputs/link", "/etc/passwd"),
        ("outputs/pipe", None),
        ("outputs/../up", b"2"),
        ("/outputs/rooted", b"3"),
        ("outputs//twice", b"4"),
        ("outputs/" + "x" * 1025, b"5"),
        ("outputs/not\udcff", b"6"),
    )
    packing, written = packed(data)
    assert kept(packing) == ["good"]
    assert packing.other_count == 7
    assert packing.is_whole, "all plain files with names that can be kept"
    with tarfile.open(fileobj=io.BytesIO(written)) as tar:
        assert tar.getnames() == ["good"]


@pytest.mark.parametrize(
    ("limits", "names"),
    [
        (Limits(30, 10), ["a", "c"]),
        (Limits(1000, 2), ["a", "b"]),
        (Limits(0, 10), []),
        (Limits(1000, 0), []),
    ],
)
def test_more_than_is_allowed_is_kept_as_far_as_it_fits_and_counted(limits: Limits, names: list[str]) -> None:
    data = archive(("outputs/a", b"1" * 10), ("outputs/b", b"2" * 100), ("outputs/c", b"3" * 20))
    packing, written = packed(data, limits)
    assert kept(packing) == names
    assert not packing.is_whole
    assert bool(written) is bool(names), "where nothing is kept there is no object"


def test_counts_of_more_than_is_allowed_are_exact_and_end_somewhere() -> None:
    sizes = [100] * 7
    packing, _ = packed(archive(*((f"outputs/{n}", b"x" * size) for n, size in enumerate(sizes))), Limits(100, 9))
    assert (packing.found_count, packing.found_bytes, packing.is_cut) == (7, 700, False)
    packing, _ = packed(archive(*((f"outputs/{n}", b"x" * 100) for n in range(50))), Limits(100, 9))
    assert packing.is_cut and packing.found_count == 9
    packing, _ = packed(archive(*((f"outputs/{n}", b"") for n in range(50))), Limits(100, 2))
    assert packing.is_cut and packing.found_count == 17


def test_folder_that_is_empty_or_has_nothing_to_keep_makes_no_object() -> None:
    for data, count in ((archive(), 0), (archive(("outputs/link", "x")), 1), (archive(("outputs/d", None)), 1)):
        packing, written = packed(data)
        assert (written, packing.other_count, packing.is_whole) == (b"", count, True)


def test_same_folder_gives_the_same_bytes_however_it_comes() -> None:
    data = archive(("outputs/a", b"1" * 3000), ("outputs/link", "x"), ("outputs/b", b"2" * 5))
    assert len({packed(data, piece=piece)[1] for piece in (1, 512, 10_240, 1 << 20)}) == 1


@pytest.mark.parametrize("cut", [600, 1500, 2048, 2600])
def test_archive_that_is_broken_off_is_not_taken_for_whole(cut: int) -> None:
    with pytest.raises(EngineError, match="is not whole"):
        packed(archive(("outputs/a", b"1" * 700), ("outputs/b", b"2" * 100))[:cut])


def test_archive_that_is_none_is_refused() -> None:
    with pytest.raises(EngineError, match="is not whole"):
        packed(b"no archive" * 200)


def test_large_folder_is_packed_in_little_memory() -> None:
    block, count = bytes(1 << 20), 200

    def pieces() -> Iterator[bytes]:
        entry = tarfile.TarInfo("outputs/large")
        entry.size = count << 20
        yield entry.tobuf()
        for _ in range(count):
            yield block
        yield bytes(1024)

    packing = OutputPacking(AMPLE)
    tracemalloc.start()
    assert sum(map(len, packing.parts(pieces()))) == (count << 20) + 512 + 1024
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 16 << 20, f"{peak >> 20} MiB"
