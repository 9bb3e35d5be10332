"""What goes into a chunk comes out of it, whatever bytes it is."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from core.log_records import LogRecord, RecordColumns, decode_records, encode_records

records = st.builds(
    LogRecord, st.integers(min_value=0, max_value=2**63), st.sampled_from([1, 2]), st.binary(max_size=200)
)


@given(st.lists(records))
def test_decode_records_of_encoded_gives_the_same(given_records: list[LogRecord]) -> None:
    assert list(decode_records(encode_records(given_records))) == given_records


@given(st.lists(records), st.integers(0, 9), st.integers(0, 9))
def test_columns_are_the_sequence_of_their_records(given_records: list[LogRecord], begin: int, end: int) -> None:
    columns = RecordColumns.of(given_records)
    assert list(columns) == given_records
    assert [columns[at] for at in range(len(columns))] == given_records
    assert list(columns[begin:end]) == given_records[begin:end]
    both = columns[:begin]
    both.extend(columns[begin:])
    assert both == columns
    assert encode_records(columns) == encode_records(given_records)
