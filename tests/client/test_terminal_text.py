"""What reaches a terminal: tables that fit, spans of time, nothing that moves its cursor."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest
import typer
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.cells import cell_len

from client.command_line.screen import laid_out, plain, shown_output
from client.command_line.spans import lasted, moment_of, seconds_of
from client.exchange.events import EventReader, ServerEvent
from client.exchange.retrying import Patience
from client.reads.jobs import BatchJob, LogEntry, Rank, first_to_fail

SHOWN = st.characters(categories=["L", "N", "P", "Zs"])
WORDS = st.text(SHOWN, max_size=10)
NOW = datetime(2026, 11, 28, 12, 0, tzinfo=UTC)


@settings(deadline=None)
@given(
    st.lists(st.tuples(WORDS, WORDS, st.text(SHOWN, max_size=200)), min_size=1),
    st.booleans(),
)
def test_table_of_short_first_columns_fits_80_and_cuts_only_the_last(
    rows: list[tuple[str, str, str]], folds: bool
) -> None:
    shown = laid_out(rows, 80, folds=folds).plain
    for line in shown.split("\n"):
        assert cell_len(line) <= 80
    if not folds:
        assert len(shown.split("\n")) == len(rows)


def test_ids_are_never_cut() -> None:
    job_id = "x" * 63
    assert job_id in laid_out([(job_id, "RUNNING", "status " * 20)], 80).plain


@given(st.text())
def test_plain_text_has_nothing_that_a_terminal_obeys(text: str) -> None:
    assert not [
        character for character in plain(text) if ord(character) in {*range(9), *range(11, 32), *range(127, 160)}
    ]


@pytest.mark.parametrize(
    ("printed", "shown"),
    [
        ("\x1b[31mred\x1b[0m", "\x1b[31mred\x1b[0m"),
        ("\x1b[2J\x1b[Hgone", "gone"),
        ("\x1b]0;title\x07text", "text"),
        ("\x1b]52;c;aGk=\x1b\\text", "text"),
        (" 10%\r 50%\r100%", "100%"),
        ("done\r", "done"),
        ("tab\tstays", "tab\tstays"),
        ("\x1bPq#0\x1b\\sixel", "sixel"),
    ],
)
def test_output_keeps_its_colours_and_nothing_else(printed: str, shown: str) -> None:
    assert shown_output(printed) == shown


@pytest.mark.parametrize(
    ("text", "seconds"), [("90", 90), ("90s", 90), ("1h30m", 5400), ("2d", 172800), ("1.5m", 90)]
)
def test_span_is_read(text: str, seconds: float) -> None:
    assert seconds_of(text) == seconds


@pytest.mark.parametrize("text", ["", "5x", "m", "1h x", "-", "-5", "nan", "inf"])
def test_span_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(typer.BadParameter):
        seconds_of(text)


def test_moment_is_a_time_or_so_long_ago() -> None:
    assert moment_of("10m", NOW) == NOW - timedelta(minutes=10)
    assert moment_of("2026-11-28T10:00:00Z", NOW) == datetime(2026, 11, 28, 10, tzinfo=UTC)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.4, "0s"), (8, "8s"), (200, "3m 20s"), (3600, "1h"), (18_720, "5h 12m"), (90_000, "1d 1h")],
)
def test_span_is_told_in_two_units(seconds: float, text: str) -> None:
    assert lasted(seconds) == text


def test_event_is_whole_at_its_empty_line_and_pings_are_none() -> None:
    reader = EventReader()
    lines = [": ping", "", "event: log", "id: 7", 'data: {"a": 1}', "", "event: end", "data: {}", ""]
    events = [event for line in lines if (event := reader.read(line))]
    assert events == [ServerEvent("log", {"a": 1}, "7"), ServerEvent("end", {}, "")]


def test_event_comes_whole_from_pieces_cut_anywhere_and_a_line_ends_at_a_line_feed_alone() -> None:
    text = 'event: log\r\nid: 7\r\ndata: {"message": "a\u2028b\u0085c\u2029d"}\r\n\r\n: ping\r\n\r\n'
    for cut in range(len(text)):
        reader = EventReader()
        lines = reader.lines(text[:cut]) + reader.lines(text[cut:])
        assert [event for line in lines if (event := reader.read(line))] == [
            ServerEvent("log", {"message": "a\u2028b\u0085c\u2029d"}, "7")
        ]


def test_delays_grow_within_their_budget_and_never_undercut_what_was_asked() -> None:
    patience = Patience(1000)
    delays = [patience.next_delay() for _ in range(8)]
    assert all(delay is not None and delay <= 10 for delay in delays) and (delays[7] or 0) >= 5
    assert (Patience(1000).next_delay(30) or 0) >= 30
    assert Patience(10).next_delay(30) is None


def test_read_keeps_what_it_does_not_know_and_has_defaults_for_what_is_missing() -> None:
    fields = json.loads(
        '{"name": "accounts/a/batchJobs/j", "newField": {"x": 1}, "startTime": null, "numRanks": 2}'
    )
    job = BatchJob.of(fields)
    assert (job.id, job.num_ranks, job.start_time, job.fields["newField"]) == ("j", 2, None, {"x": 1})
    assert job.status == "" and job.uploads == ()
    assert Rank.of({"logBytes": "12", "exitCode": 0}).log_bytes == 12
    entry = LogEntry.of({"logTime": "2026-11-28T12:00:00.123456789Z", "rank": 1, "message": "m"})
    assert entry.log_time == NOW + timedelta(microseconds=123456)


def test_first_to_fail_is_the_earliest_and_not_who_was_stopped_for_it() -> None:
    def rank(number: int, state: str, at: int) -> Rank:
        return Rank(rank=number, state=state, end_time=NOW + timedelta(seconds=at))

    ranks = [rank(0, "STOPPED", 0), rank(1, "FAILED", 5), rank(2, "FAILED", 3), rank(3, "SUCCEEDED", 1)]
    assert first_to_fail(ranks) == ranks[2]
    assert first_to_fail(ranks[:1]) is None
    assert first_to_fail(ranks, main=True) is None
