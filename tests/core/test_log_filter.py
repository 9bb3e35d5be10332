"""Which records are wanted: streams, texts and expressions over bytes, and the bounds of what a caller may ask."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.log_filter import EVERYTHING, EXAMINED_BYTES, Effort, LineRegex, LogFilter, chosen
from core.log_records import PLATFORM, STDERR, STDOUT, LogRecord

#: What backtracking engines need for ever for, and linear ones with a large program long.
HARD = ["(a+)+$", "(a|a)*b", "(.*a){20}b", "(?:a?){200}a{200}b", "(?:(?:a|b)?){900}c"]


def record(data: bytes, stream: int = STDOUT) -> LogRecord:
    return LogRecord(1, stream, data)


def is_in(expression: str, data: bytes) -> bool:
    return LogFilter(regex=LineRegex(expression)).matches(record(data))


@pytest.mark.parametrize(
    ("expression", "data", "found"),
    [
        (r"loss=\d+", b"step 3 loss=17 \xff\xfe\n", True),
        (r"loss=\d+", b"loss=\xff7\n", False),
        (r"^a.*z$", b"a to z\n", True),
        (r"^a.*z$", b"a to z\r\n", False),
        (r"^$", b"\n", True),
        (r"^$", b"", True),
        ("caf.$", "café\n".encode(), True),
        ("caf.$", b"caf\xe9\n", False),
        (r"caf\C$", b"caf\xe9\n", True),
        ("[äö]+", "schön".encode(), True),
        ("(?i)ERROR", b"an Error\n", True),
        (r"a\x00b", b"\xff a\0b \xff\n", True),
        (r"\bend\b", b"\xffend\xff\n", True),
        ("x", b"x" * 16_384, True),
        (r"\\n", b"a\n", False),
        ("\n", b"a\n", False),
    ],
)
def test_regex_is_searched_in_the_bytes_of_a_line(expression: str, data: bytes, found: bool) -> None:
    assert is_in(expression, data) is found


@given(st.binary(max_size=60))
def test_regex_takes_any_bytes(data: bytes) -> None:
    assert is_in(r"\C*", data)
    assert is_in("e", data) == (b"e" in data)
    assert is_in(r"^[\x00-\x09\x0b-\x7f]*$", data) == (
        data.removesuffix(b"\n").isascii() and b"\n" not in data[:-1]
    )


@pytest.mark.parametrize(
    ("expression", "said"),
    [
        ("(", "missing )"),
        ("a**", "bad repetition operator: **"),
        ("(?=a)", "invalid perl operator"),
        (r"(a)\1", r"invalid escape sequence: \1"),
        ("a{1001}", "invalid repetition size"),
        ("((a{100}){100}){100}", "invalid repetition size"),
        ("[z-a]", "invalid character class range"),
        ("*", "no argument for repetition operator"),
        (r"\pL{300}", "too large"),
        ("[^a]{0,400}é[^b]{0,400}", "too large"),
        ("a" * 1001, "at most 1000"),
    ],
)
def test_regex_that_does_not_compile_or_is_too_large_is_refused_saying_why(expression: str, said: str) -> None:
    with pytest.raises(ValueError, match=r"RE2|too large|characters") as refused:
        LineRegex(expression)
    assert said in str(refused.value)


def test_regexes_of_the_same_text_are_the_same_and_look_the_same() -> None:
    assert LineRegex("a+") == LineRegex("a+") != LineRegex("a")
    assert repr(LineRegex("a+")) == repr(LineRegex("a+")) == "LineRegex(text='a+')"


@pytest.mark.parametrize(
    ("wanted", "lines"),
    [
        (EVERYTHING, ["out 1", "err 1", "out 2", "cut"]),
        (LogFilter(stream=STDOUT), ["out 1", "out 2"]),
        (LogFilter(stream=STDERR), ["err 1"]),
        (LogFilter(contains=b"1"), ["out 1", "err 1"]),
        (LogFilter(contains=b"u", regex=LineRegex("[12]$")), ["out 1", "out 2"]),
        (LogFilter(STDOUT, b"out", LineRegex("2")), ["out 2"]),
        (LogFilter(regex=LineRegex("c.t")), ["cut"]),
    ],
)
def test_filter_wants_what_meets_all_that_is_set(wanted: LogFilter, lines: list[str]) -> None:
    streams = {"out 1": STDOUT, "err 1": STDERR, "out 2": STDOUT, "cut": PLATFORM}
    found = [line for line, stream in streams.items() if wanted.matches(record(line.encode() + b"\n", stream))]
    assert found == lines


@pytest.mark.timeout(60)
@pytest.mark.parametrize("expression", HARD)
def test_hard_expression_ends_on_a_line_that_is_made_for_it(expression: str) -> None:
    assert LogFilter(regex=LineRegex(expression)).matches(record(b"a" * 16_383 + b"!")) in (False, True)


def test_slow_expression_gives_its_reader_back_before_all_is_examined() -> None:
    records = [record(b"ab" * 8192)] * 2000
    answers = chosen(LogFilter(regex=LineRegex("(?:(?:a|b)?){900}c")), records)
    assert 0 < len(answers) < 2000 and not any(answers)


def test_reading_ends_with_its_bytes_and_examines_one_record_at_the_least() -> None:
    size = 1 << 20
    assert chosen(EVERYTHING, [record(b"x" * size)] * 20) == [True] * (EXAMINED_BYTES // size)
    assert chosen(EVERYTHING, [record(b"x" * 2 * EXAMINED_BYTES)] * 2) == [True]
    assert chosen(EVERYTHING, []) == []
    effort = Effort(max_bytes=10)
    effort.spend(9)
    assert not effort.is_spent
    effort.spend(1)
    assert effort.is_spent
    assert Effort(max_seconds=-1).is_spent
