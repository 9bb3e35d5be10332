"""Where an executed notebook ended, from what papermill leaves of it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.executors.notebook_result import where_it_ended

Json = dict[str, Any]


def _cell(source: str | list[str], status: str, *outputs: Json, tags: tuple[str, ...] = ()) -> Json:
    failed = status == "failed"
    ran = {"status": status, "exception": failed} if status else {}
    metadata = {"papermill": ran, "tags": list(tags)}
    return {"cell_type": "code", "source": source, "metadata": metadata, "outputs": list(outputs)}


def _error(name: str, value: str) -> Json:
    return {"output_type": "error", "ename": name, "evalue": value, "traceback": []}


def _notebook(*cells: Json) -> bytes:
    return json.dumps({"cells": list(cells), "nbformat": 4}).encode()


MARKDOWN: Json = {"cell_type": "markdown", "source": "# An exception was encountered", "metadata": {}}
GOOD = _cell("x = 1", "completed")


@pytest.mark.parametrize(
    ("cells", "sentence"),
    [
        ([GOOD, _cell("1 / 0", "failed", _error("ZeroDivisionError", "division by zero"))],
         "cell 2 (1 / 0): ZeroDivisionError: division by zero"),
        # What papermill has put in does not count.
        ([MARKDOWN, GOOD, _cell("x = 2", "completed", tags=("injected-parameters",)), MARKDOWN,
          _cell(["\n", "def f():\n", "    g()\n"], "failed", _error("KeyError", "'a'"))],
         "cell 2 (def f():): KeyError: 'a'"),
        ([GOOD, _cell("wait()", "running")], "cell 2 (wait()): the last line"),
        ([_cell("y" * 100, "failed", _error("E", ""))], f"cell 1 ({'y' * 60}…): E"),
        ([_cell("a", "failed", _error("E", "many\nlines"))], "cell 1 (a): E: lines"),
        ([GOOD, _cell("later", "pending")], ""),
        ([GOOD, _cell("1 / 0", "completed", _error("E", "as it was meant")), GOOD],
         "cell 2 (1 / 0): E: as it was meant"),
        ([], ""),
    ],
)  # fmt: skip
def test_failed_cell_is_named_by_number_source_and_error(cells: list[Json], sentence: str) -> None:
    assert where_it_ended(_notebook(*cells), "the last line") == sentence


@given(
    st.binary(max_size=30) | st.sampled_from([b"[]", b"{}", b'{"cells": [1]}', b'{"cells": {"a": 1}}', b"null"])
)
def test_what_is_no_notebook_says_nothing(content: bytes) -> None:
    assert where_it_ended(content, "last") == ""
