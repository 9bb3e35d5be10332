"""JSON text, proto-JSON, times, page tokens: the pure parts of the wire."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.wire.json_text import MAX_DEPTH, dump_json, load_json
from api.wire.page_tokens import make_page_token, read_page_token
from api.wire.proto_json import BOOL, INT32, JSON_VALUE, STRING, Faults, map_of, message, repeated, snake_case
from api.wire.times import (
    format_duration,
    format_time,
    format_time_ns,
    from_microseconds,
    parse_duration,
    parse_time_ns,
    to_microseconds,
)
from core.errors import InvalidArgument

# Surrogates are left out: a JSON text is UTF-8. Integers stay where doubles are exact.
_JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), inner),
)  # fmt: skip


@given(_JSON)
def test_load_json_of_any_value_is_its_inverse(value: Any) -> None:
    assert load_json(json.dumps(value).encode()) == value
    assert load_json(dump_json(value)) == value


@given(st.binary(max_size=200))
def test_load_json_of_any_bytes_answers_or_refuses(raw: bytes) -> None:
    try:
        load_json(raw)
    except InvalidArgument as error:
        assert error.violations


@pytest.mark.parametrize(("opening", "closing"), [("[", "]"), ('{"a":', "}")])
def test_load_json_of_nesting_is_refused_past_the_limit_only(opening: str, closing: str) -> None:
    def nested(depth: int) -> bytes:
        return f"{opening * depth}1{closing * depth}".encode()

    load_json(nested(MAX_DEPTH))
    for depth in (MAX_DEPTH + 1, 10_000):
        with pytest.raises(InvalidArgument, match="nested"):
            load_json(nested(depth))


def test_load_json_of_brackets_in_strings_counts_none() -> None:
    value = ["[" * 500, '"' + "{" * 500, "\\" + "[" * 500]
    assert load_json(json.dumps(value).encode()) == value


@pytest.mark.parametrize("piece", [b'"\\', b'\\"', b'"a', b"[", b'["', b'{"\\"'])
def test_load_json_of_a_body_made_to_backtrack_takes_linear_time(piece: bytes) -> None:
    raw = b'["' + b"[" * 200 + piece * ((1 << 20) // len(piece))
    begun = time.thread_time()
    with pytest.raises(InvalidArgument):
        load_json(raw)
    assert time.thread_time() - begun < 10, "it backtracks"


def test_dump_json_of_half_a_surrogate_pair_replaces_it() -> None:
    assert json.loads(dump_json({"a\ud800": ["\udfff"]})) == {"a?": ["?"]}


MESSAGE = message({"someText": STRING, "flag": BOOL, "count": INT32, "names": repeated(STRING)})


def test_message_with_several_faults_names_them_all() -> None:
    faults: Faults = []
    MESSAGE.read({"some_text": 1, "flag": 0, "count": 1.5, "names": ["a", None], "nmaes": []}, "x", faults)
    assert [fault.field for fault in faults] == ["x.nmaes", "x.someText", "x.flag", "x.count", "x.names[1]"]
    assert "did you mean names?" in faults[0].description


@pytest.mark.parametrize(
    ("value", "good"),
    [
        *((good, True) for good in (1, -(2**31), 2**31 - 1, 2.0)),
        *((bad, False) for bad in (2**31, 1e300, 2.5, "2", True, None)),
    ],
)
def test_int32_takes_whole_numbers_of_32_bits_only(value: object, good: bool) -> None:
    faults: Faults = []
    INT32.read(value, "n", faults)
    assert (not faults) is good


def test_json_value_with_a_nul_deep_inside_names_where() -> None:
    faults: Faults = []
    map_of(JSON_VALUE).read({"a": [{"b": ["ok", "x\0"]}]}, "p", faults)
    assert [fault.field for fault in faults] == ['p["a"][0]["b"][1]']


def test_unknown_field_of_great_length_is_shown_in_part() -> None:
    faults: Faults = []
    MESSAGE.read({"x" * 1_000_000: 1}, "", faults)
    assert len(faults[0].field) < 200


@pytest.mark.parametrize(
    ("camel", "snake"), [("name", "name"), ("nodePoolId", "node_pool_id"), ("envVars", "env_vars")]
)
def test_snake_case_of_a_field_is_its_proto_name(camel: str, snake: str) -> None:
    assert snake_case(camel) == snake


@given(st.integers(0, 2**63 - 1))
def test_format_time_ns_of_any_time_is_read_back(time_ns: int) -> None:
    text = format_time_ns(time_ns)
    assert parse_time_ns(text) == time_ns
    digits = len(text.partition(".")[2].removesuffix("Z"))
    assert digits in (0, 3, 6, 9)


def test_format_time_of_another_zone_is_in_utc() -> None:
    moment = datetime(2026, 1, 1, 2, 0, 0, 120_000, timezone(timedelta(hours=2)))
    assert format_time(moment) == "2026-01-01T00:00:00.120Z"


@given(st.datetimes(timezones=st.just(UTC)))
def test_to_microseconds_of_any_time_is_read_back(moment: datetime) -> None:
    assert from_microseconds(to_microseconds(moment)) == moment


@pytest.mark.parametrize(
    ("text", "seconds"), [("0s", 0.0), ("90s", 90.0), ("1.5s", 1.5), ("0.000000001s", 1e-9), ("3600s", 3600.0)]
)
def test_parse_duration_of_a_good_one_is_its_seconds(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds
    assert parse_duration(format_duration(seconds)) == seconds


@pytest.mark.parametrize("text", ["", "s", "5", "-1s", "1.s", ".5s", "1m", "1.0000000000s", "1e3s", " 1s", "٣s"])
def test_parse_duration_of_a_bad_one_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        parse_duration(text)


def test_page_token_with_the_same_binding_gives_its_position() -> None:
    token = make_page_token([1, "a"], "list", "acme", 50)
    assert read_page_token(token, "list", "acme", 50) == [1, "a"]


@given(st.text(max_size=80))
def test_page_token_of_any_text_is_refused(text: str) -> None:
    with pytest.raises(InvalidArgument):
        read_page_token(text, "list")


@pytest.mark.parametrize(
    "binding", [("list", "acme", 51), ("list", "globex", 50), ("list",), ("logs", "acme", 50)]
)
def test_page_token_of_another_binding_is_refused(binding: tuple[object, ...]) -> None:
    token = make_page_token([1, "a"], "list", "acme", 50)
    with pytest.raises(InvalidArgument):
        read_page_token(token, *binding)
