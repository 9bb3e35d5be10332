"""Notebooks as people write them: each ends as it should, says why, and is kept and shown as far as it came.

All are started at once, and each test looks at one of them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import pytest

from tests.lab.api_client import ApiClient, Json
from tests.lab.images import NOTEBOOK
from tests.lab.notebooks import notebook

_PLOT = "import matplotlib.pyplot as plt\nplt.plot([1, 4, 9]); plt.title('squares'); plt.show()"
_TABLE = "import pandas as pd\npd.DataFrame({'city': ['Oslo', 'Lima'], 'people': [709_000, 10_000_000]})"
_HOSTILE = """\
from IPython.display import HTML, Javascript, display
display(HTML('<b>kept</b><script>alert(1)</script><img src=x onerror=alert(2)>'))
display(HTML('<iframe src="//example.test"></iframe><a href="javascript:alert(3)">go</a>'))
display(Javascript('alert(4)'))"""
_WIDGET = """\
from IPython.display import display
display({'application/vnd.jupyter.widget-view+json': {'version_major': 2, 'version_minor': 0, 'model_id': 'a1'},
         'text/plain': 'IntSlider(value=7)'}, raw=True)"""
_DEEP = "def inner(rows):\n    return rows[9]\n\ndef outer():\n    return inner([1, 2])\n\nouter()"
_MUCH = "for number in range(500):\n    print(f'{number:03d}', 'x' * 100_000)"
_MANY_LINES = "for number in range(5000):\n    print(f'line {number:04d} of a long output')"
# What a kernel prints is sent by a thread of its own, which may be ended with it: it is given a second.
_KILLED = (
    "print('dies now', flush=True)\nimport os, signal, time; time.sleep(1)\nos.kill(os.getpid(), signal.SIGKILL)"
)
_EATS = "print('eats now', flush=True)\nimport time; time.sleep(1)\nheld = b'x' * (2 << 30)"
_AWAIT = "import asyncio\nasync def answer():\n    await asyncio.sleep(0.01)\n    return 42\nawait answer()"
_COLOURS = "print('\\x1b[31mred\\x1b[0m, 日本語, 🚢, \\x00 a NUL')"


@dataclass(frozen=True)
class Case:
    """A notebook, and what must become of it. `page` and `not_page` are what its HTML shows and does not."""

    content: str
    state: str = "COMPLETED"
    #: parts of the job's status and, in order, of what was printed and of the kept notebook
    status: str = ""
    printed: Sequence[str] = ()
    kept: Sequence[str] = ()
    page: Sequence[str] = ()
    not_page: Sequence[str] = ()
    reason: str = ""
    body: Mapping[str, Any] = field(default_factory=dict)


def _of_kernel(name: str, language: str, *sources: str) -> str:
    return notebook(*sources, kernelspec={"name": name, "display_name": name, "language": language})


def _with_cells(*cells: Json, **more: Any) -> str:
    return json.dumps({"cells": list(cells), "metadata": {}, "nbformat": 4, "nbformat_minor": 5, **more})


def _cell(kind: str, source: str, *tags: str) -> Json:
    cell = {"cell_type": kind, "id": f"c{len(source)}", "metadata": {"tags": list(tags)}, "source": source}
    return {**cell, "outputs": [], "execution_count": None} if kind == "code" else cell


_OLD = {
    "metadata": {"name": "old"},
    "nbformat": 3,
    "nbformat_minor": 0,
    "worksheets": [
        {"cells": [{"cell_type": "code", "language": "python", "input": "print('of old')", "outputs": []}]}
    ],
}

CASES = {
    "a plot": Case(notebook(_PLOT), kept=["image/png"], page=["<img", "data:image/png;base64,"]),
    "a plot as SVG": Case(
        notebook("%config InlineBackend.figure_formats = ['svg']", _PLOT),
        kept=["image/svg+xml"],
        not_page=["<svg"],
    ),
    "a table": Case(notebook(_TABLE), kept=["text/html"], page=["<table", "Oslo", "10000000"]),
    "hostile HTML": Case(
        notebook(_HOSTILE),
        kept=["onerror"],
        page=["<b>kept</b>"],
        not_page=["<script", "<iframe", '<a href="javascript', "<img src=x", "<img onerror"],
    ),
    "a widget": Case(notebook(_WIDGET), kept=["widget-view+json"], page=["IntSlider(value=7)"]),
    "a library that is missing": Case(
        notebook("print('before')", "import ipywidgets_of_nobody"),
        "FAILED",
        "cell 2 (import ipywidgets_of_nobody): ModuleNotFoundError: No module named 'ipywidgets_of_nobody'",
        kept=["before"],
    ),
    "a long output": Case(
        notebook(_MANY_LINES),
        printed=["line 0000 of", "line 4999 of"],
        kept=["line 4999 of"],
        page=["line 4999 of"],
    ),
    "50 MB of output": Case(notebook(_MUCH, "print('after it')"), kept=["000 xxx", "499 xxx", "after it"]),
    "an error": Case(
        notebook("print('before')", "1 / 0", "print('never')"),
        "FAILED",
        "cell 2 (1 / 0): ZeroDivisionError: division by zero",
        printed=["before"],
        kept=["before", "ZeroDivisionError"],
        page=["ran-completed", "ran-failed", "ran-pending"],
    ),
    "an error far down": Case(
        notebook(_DEEP),
        "FAILED",
        "cell 1 (def inner(rows):): IndexError: list index out of range",
        kept=["outer()"],
    ),
    "an error of several lines": Case(
        notebook("raise ValueError('the first line\\nthe last line')"),
        "FAILED",
        "cell 1 (raise ValueError('the first line\\nthe last line')): ValueError: the last line",
    ),
    "no Python": Case(notebook("if True print(1)"), "FAILED", "cell 1 (if True print(1)): SyntaxError: "),
    # papermill goes on with the cells after it, and says in the end that the notebook has failed.
    "an error that is meant": Case(
        _with_cells(_cell("code", "1 / 0", "raises-exception"), _cell("code", "print('goes on')")),
        "FAILED",
        "cell 1 (1 / 0): ZeroDivisionError: division by zero",
        printed=["goes on"],
        kept=["ZeroDivisionError"],
    ),
    "input()": Case(
        notebook("name = input('Who? ')"), "FAILED", "cell 1 (name = input('Who? ')): StdinNotImplementedError"
    ),
    "an endless loop with a timeout": Case(
        notebook("print('before')", "while True: pass"),
        "FAILED",
        printed=["before"],
        kept=["before"],
        reason="RUN_TIMEOUT",
        body={"timeouts": {"run": "30s"}, "stopGracePeriod": "1s"},
    ),
    "a kernel that is killed": Case(
        notebook("print('before')", _KILLED), "FAILED", "cell 2 (print('dies now', flush=True))", kept=["before"]
    ),
    "too little memory": Case(
        notebook("print('before')", _EATS),
        "FAILED",
        "cell 2 (print('eats now', flush=True))",
        kept=["before"],
        reason="OUT_OF_MEMORY",
        body={"resources": {"memory": "512Mi"}},
    ),
    "a kernel that is not there": Case(_of_kernel("julia-1.9", "julia", "1"), "FAILED", "julia-1.9"),
    "metadata of R": Case(_of_kernel("ir", "R", "print(1)"), "FAILED", "No such kernel named ir"),
    "no metadata": Case(notebook("print('here')"), printed=["here"]),
    "a kernel without a language": Case(
        notebook("print('here')", kernelspec={"name": "python3", "display_name": "P"}), printed=["here"]
    ),
    "text alone": Case(
        _with_cells(_cell("markdown", "# A title\n\nand *words*")), page=["A title", "<em>words</em>"]
    ),
    "no cells": Case(_with_cells()),
    "an old format": Case(json.dumps(_OLD), printed=["of old"]),
    "a shell's command": Case(
        notebook("!echo said by $((6 * 7))", "%%bash\necho of bash"), printed=["said by 42"]
    ),
    "an await": Case(notebook(_AWAIT), kept=["42"]),
    "colours and scripts": Case(
        notebook(_COLOURS), printed=["日本語, 🚢"], kept=["日本語"], page=["日本語", "🚢"]
    ),
    "an exit that says all is well": Case(notebook("print('enough')\nraise SystemExit(0)"), printed=["enough"]),
    "an exit that says it is not": Case(
        notebook("print('before')\nraise SystemExit(3)"), "FAILED", "cell 1 (print('before')): SystemExit: 3"
    ),
}


@pytest.fixture(scope="module")
def jobs(client: ApiClient) -> dict[str, str]:
    """The ids of all, by their names."""
    return {
        name: client.create(imageRef=NOTEBOOK, notebookExecutor={"content": case.content}, **case.body)["id"]
        for name, case in CASES.items()
    }


@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", CASES)
def test_notebook_ends_as_it_should_and_is_kept_as_far_as_it_came(
    client: ApiClient, jobs: Mapping[str, str], name: str
) -> None:
    case, job = CASES[name], jobs[name]
    done = client.wait_end(job, 500)
    assert done["state"] == case.state, done["status"]
    assert case.status in done["status"]
    assert not case.reason or done["reason"] == case.reason, done["status"]
    _assert_in_order(case.printed, "\n".join(client.lines(job)))
    if case.kept or case.page:
        _assert_in_order(case.kept, json.dumps(client.notebook(job), ensure_ascii=False))
    if case.page or case.not_page:
        page = client.page(job)
        _assert_in_order(case.page, page)
        assert [part for part in case.not_page if part in page] == []


@pytest.mark.parametrize(
    ("name", "last"), [("a kernel that is killed", "dies now"), ("too little memory", "eats now")]
)
def test_death_of_a_kernel_is_noticed_within_seconds(
    client: ApiClient, jobs: Mapping[str, str], name: str, last: str
) -> None:
    for each in jobs.values():
        client.wait_end(each, 500)
    case = CASES[name]
    job = client.create(imageRef=NOTEBOOK, notebookExecutor={"content": case.content}, **case.body)["id"]
    done = client.wait_end(job, 120)
    (said,) = [entry for entry in client.logs(job) if entry["message"] == last]
    took = datetime.fromisoformat(done["endTime"]) - datetime.fromisoformat(said["logTime"])
    assert took.total_seconds() < 10


def _assert_in_order(parts: Sequence[str], text: str) -> None:
    at = 0
    for part in parts:
        found = text.find(part, at)
        assert found >= 0, f"{part!r} is not there{' after that' if at else ''}: {text[at : at + 2000]}"
        at = found + len(part)
