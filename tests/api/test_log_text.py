"""The text of a download: every byte, whole lines, none of them made up, whatever comes between their pieces."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api import log_text
from api.log_text import LogText
from core.log_filter import EVERYTHING, LineRegex, LogFilter
from core.log_records import PLATFORM, STDERR, STDOUT, LogRecord
from core.logs import LogEntry

#: rank, stream, data
Said = tuple[int, int, bytes]


def text(
    said: Sequence[Said], wanted: LogFilter = EVERYTHING, *, with_ranks: bool = True, at_once: int = 100
) -> bytes:
    made = LogText(wanted, with_ranks=with_ranks)
    entries = [LogEntry(rank, LogRecord(1, stream, data)) for rank, stream, data in said]
    parts = []
    for begin in range(0, len(entries), at_once):
        some = entries[begin : begin + at_once]
        while some:
            part, count = made.take(some)
            parts.append(part)
            some = some[count:]
    return b"".join(parts) + made.rest()


def test_text_of_several_ranks_has_each_line_behind_its_rank() -> None:
    assert text([(0, 1, b"a\n"), (12, 1, b"\n"), (0, 2, b"b\0\xff\r\n")]) == b"[0] a\n[12] \n[0] b\0\xff\r\n"
    assert text([]) == b""


def test_pieces_of_a_line_are_one_line_although_others_print_between_them() -> None:
    said = [
        (0, 1, b"begin "),
        (1, 1, b"other\n"),
        (0, 2, b"err "),
        (0, 1, b"middle "),
        (1, 1, b"x\n"),
        (0, 1, b"end\n"),
    ]
    expected = b"[0] begin middle end\n[1] other\n[0] err \n[1] x\n"
    assert text(said) == text(said, at_once=1) == expected
    # What opens a line while it waits is gone on with too.
    said += [(0, 2, b"more\n"), (1, 1, b"last")]
    assert text(said) == b"[0] begin middle end\n[1] other\n[0] err more\n[1] x\n[1] last"


def test_text_of_one_rank_is_what_it_printed_byte_for_byte() -> None:
    said = [(3, 1, b"begin "), (3, 2, b"err\n"), (3, 1, b"end\n"), (3, 2, b"no end"), (3, 1, b"\xff")]
    assert text(said, with_ranks=False) == b"".join(data for _, _, data in said)
    assert text(said, LogFilter(STDOUT), with_ranks=False) == b"begin end\n\xff"
    assert text(said, LogFilter(STDERR), with_ranks=False) == b"err\nno end"


def test_word_of_the_platform_is_a_line_of_its_own_and_of_no_stream() -> None:
    said = [(0, STDOUT, b"cut he"), (0, PLATFORM, b"longshore: cut\n"), (1, STDOUT, b"on\n")]
    assert text(said) == b"[0] cut he\n[0] longshore: cut\n[1] on\n"
    assert text(said[:2], with_ranks=False) == b"cut he\nlongshore: cut\n"
    assert text(said[:2], LogFilter(STDOUT), with_ranks=False) == b"cut he"


@pytest.mark.parametrize("with_ranks", [True, False])
def test_filter_by_content_never_glues_what_was_not_one_line(with_ranks: bool) -> None:
    said = [
        (0, 1, b"keep 1 "),
        (0, 1, b"drop\n"),
        (0, 1, b"keep 2 "),
        (0, 2, b"drop\n"),
        (0, 1, b"keep 3\n"),
        (0, 1, b"drop "),
        (0, 1, b"keep 4\n"),
    ]
    prefix = b"[0] " if with_ranks else b""
    expected = [b"keep 1 \n", b"keep 2 keep 3\n", b"keep 4\n"]
    for wanted in (LogFilter(contains=b"keep"), LogFilter(regex=LineRegex("^ke"))):
        assert text(said, wanted, with_ranks=with_ranks) == b"".join(prefix + line for line in expected)


def test_line_without_an_end_keeps_others_waiting_no_longer_than_memory_allows(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(log_text, "MAX_WAITING_BYTES", 1000)
    made = LogText(EVERYTHING, with_ranks=True)

    def take(rank: int, data: bytes) -> bytes:
        return made.take([LogEntry(rank, LogRecord(1, 1, data))])[0]

    assert take(0, b"died he") == b"[0] died he"
    shown = [take(1, b"x" * 99 + b"\n") for _ in range(20)]
    first = next(index for index, part in enumerate(shown) if part)
    assert first < 10 and shown[first] == b"\n" + (b"[1] " + b"x" * 99 + b"\n") * (first + 1)
    assert all(part == b"[1] " + b"x" * 99 + b"\n" for part in shown[first + 1 :])
    assert take(0, b"re\n") == b"[0] re\n" and made.rest() == b""


_SAID = st.lists(
    st.tuples(st.integers(0, 2), st.sampled_from([1, 2]), st.sampled_from([b"a", b"bb\n", b"\n", b"c\xff", b""]))
)


@given(_SAID, st.integers(1, 5))
def test_every_line_of_every_stream_is_in_the_text_once_whole_and_in_order(said: list[Said], at_once: int) -> None:
    for with_ranks in (True, False):
        assert text(said, with_ranks=with_ranks, at_once=at_once) == text(said, with_ranks=with_ranks)
    assert text(said, with_ranks=False) == b"".join(data for _, _, data in said)
    printed: dict[tuple[int, int], bytes] = {}
    for rank, stream, data in said:
        printed[rank, stream] = printed.get((rank, stream), b"") + data
    for rank in range(3):
        for stream in (1, 2):
            found = text(said, LogFilter(stream), at_once=at_once).splitlines(keepends=True)
            of_rank = [line.removeprefix(b"[%d] " % rank) for line in found if line.startswith(b"[%d] " % rank)]
            whole = printed.get((rank, stream), b"")
            assert b"".join(of_rank).removesuffix(b"\n") == whole.removesuffix(b"\n")
