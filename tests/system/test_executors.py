"""Python and notebooks in real images: what runs, what is kept, and what a missing piece is called."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.lab.api_client import ApiClient
from tests.lab.images import NOTEBOOK, PYTHON, ensure_work
from tests.lab.notebooks import notebook
from tests.lab.platform import Platform

FILES = {
    "greet.py": "import sys; print('hello', *sys.argv[1:])",
    "plain.ipynb": notebook("x = 1", "print('x is', x)\nimport os; print('rank', os.environ['RANK'])"),
    "broken.ipynb": notebook("print('before')", "1 / 0", "print('after')"),
    "nokernel.ipynb": notebook("1", kernelspec={"name": "julia-9", "display_name": "J", "language": "julia"}),
    "notjson.ipynb": "this is no notebook",
}


@pytest.fixture(scope="module")
def work() -> str:
    return ensure_work(FILES)


def run(client: ApiClient, image: str, ranks: int = 1, **executor: Any) -> tuple[dict[str, Any], str]:
    job = client.create(imageRef=image, numRanks=ranks, **executor)
    return client.wait_end(job["id"], 120), job["id"]


def test_python_module_and_file_run_with_their_arguments(client: ApiClient, work: str) -> None:
    for kind, target in (("MODULE", "greet"), ("FILENAME", "greet.py")):
        executor = {"targetType": kind, "target": target, "args": ["a b", "$c"]}
        done, job_id = run(client, work, pythonExecutor=executor)
        assert done["state"] == "COMPLETED", done["status"]
        assert client.lines(job_id) == ["hello a b $c"]


def test_notebook_runs_with_parameters_and_is_kept_for_every_rank(client: ApiClient, work: str) -> None:
    done, job_id = run(
        client, work, ranks=2, notebookExecutor={"notebookFilename": "plain.ipynb", "parameters": {"x": 42}}
    )
    assert done["state"] == "COMPLETED", done["status"]
    assert "x is 42" in client.lines(job_id, rank=1)
    for rank in range(2):
        executed = client.notebook(job_id, rank)
        printed = "".join(
            "".join(output.get("text", "")) for cell in executed["cells"] for output in cell.get("outputs", ())
        )
        assert f"rank {rank}" in printed


def test_parameters_of_a_notebook_keep_their_types(client: ApiClient) -> None:
    given = {"tiny": 1e-7, "whole": 3, "large": 1e300, "no": "no", "day": "2026-01-02", "none": None, "yes": True,
             "many": [1, 2.5, {"x": "1e5"}]}  # fmt: skip
    source = notebook("# the parameters", f"print([{', '.join(given)}])")
    executor = {"content": source, "parameters": given}
    done = client.wait_end(job := client.create(imageRef=NOTEBOOK, notebookExecutor=executor)["id"], 120)
    assert done["state"] == "COMPLETED", done["status"]
    assert str(list(given.values())) in client.lines(job)


def test_notebook_that_fails_names_the_error_and_keeps_what_it_had(client: ApiClient, work: str) -> None:
    done, job_id = run(client, work, notebookExecutor={"notebookFilename": "broken.ipynb"})
    assert done["state"] == "FAILED"
    assert done["status"].endswith("cell 2 (1 / 0): ZeroDivisionError: division by zero")
    assert "before" in json.dumps(client.notebook(job_id))


@pytest.mark.parametrize(
    ("image", "executor", "sentence"),
    [
        (
            "longshore-test/busybox:1",
            {"pythonExecutor": {"targetType": "MODULE", "target": "x"}},
            "the image has neither python nor python3 on its PATH",
        ),
        (PYTHON, {"pythonExecutor": {"targetType": "MODULE", "target": "nosuch"}}, "No module named nosuch"),
        (
            PYTHON,
            {"pythonExecutor": {"targetType": "FILENAME", "target": "train.py"}},
            "there is no file train.py in the image (working directory: /)",
        ),
        (NOTEBOOK, {"notebookExecutor": {"notebookFilename": "no.ipynb"}}, "there is no notebook no.ipynb"),
        (
            "longshore-test/work:1",
            {"notebookExecutor": {"notebookFilename": "notjson.ipynb"}},
            "notjson.ipynb is not a notebook",
        ),
        ("longshore-test/work:1", {"notebookExecutor": {"notebookFilename": "nokernel.ipynb"}}, "julia-9"),
    ],
)
def test_missing_piece_fails_with_a_status_that_names_it(
    client: ApiClient, work: str, image: str, executor: dict[str, Any], sentence: str
) -> None:
    done, _ = run(client, image, **executor)
    assert done["state"] == "FAILED"
    assert sentence in done["status"]


def test_notebook_in_an_image_without_papermill_says_what_to_install(
    client: ApiClient, platform: Platform
) -> None:
    done, _ = run(
        client,
        PYTHON,
        notebookExecutor={"notebookFilename": "/etc/os-release"},
    )
    assert done["state"] == "FAILED"
    assert "/etc/os-release is not a notebook" in done["status"]
