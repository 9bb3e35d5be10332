"""What a submission becomes on the wire: executors, spans, files and what is too large."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from client import NotSendable
from client.calls.job_body import job_body, over, span
from client.calls.job_files import MAX_BYTES, files_of
from client.command_line.commands.job_options import body_of


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def put(name: str, content: str | bytes = "x") -> Path:
    path = Path(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def test_folder_is_sent_by_its_path_from_here_without_what_is_hidden_or_made() -> None:
    for name in ("src/a.py", "src/b/c.txt", "src/.git/config", "src/__pycache__/a.pyc", "src/.env", "other.txt"):
        put(name)
    assert set(files_of([Path("src")])) == {"src/a.py", "src/b/c.txt"}
    assert set(files_of([Path()])) == {"src/a.py", "src/b/c.txt", "other.txt"}


def test_file_from_elsewhere_is_sent_by_its_own_name(tmp_path_factory: pytest.TempPathFactory) -> None:
    elsewhere = tmp_path_factory.mktemp("elsewhere") / "data.csv"
    elsewhere.write_text("1,2")
    assert files_of([elsewhere]) == {"data.csv": "1,2"}


def test_files_that_are_too_large_are_refused_with_the_largest_by_name() -> None:
    put("small.txt", b"x" * 100)
    put("big.csv", b"x" * MAX_BYTES)
    with pytest.raises(NotSendable, match=r"5,242,980 bytes together, the most is 5,242,880 .*; the largest: big"):
        files_of([Path("small.txt"), Path("big.csv")])
    assert files_of([Path("big.csv")])


def test_what_is_not_text_not_there_or_too_many_is_refused_by_name() -> None:
    with pytest.raises(NotSendable, match=r"model\.bin is not text"):
        files_of([put("model.bin", b"\xff\x00")])
    with pytest.raises(NotSendable, match=r"there is no file nothing\.txt"):
        files_of([Path("nothing.txt")])
    for number in range(101):
        put(f"many/{number}")
    with pytest.raises(NotSendable, match="101 files are too many"):
        files_of([Path("many")])


@pytest.mark.parametrize(
    ("given", "wire"),
    [(90, "90s"), (1.5, "1.5s"), (timedelta(minutes=2), "120s"), ("3s", "3s"), (0.1, "0.1s")],
)
def test_span_is_seconds_on_the_wire(given: Any, wire: str) -> None:
    assert span(given) == wire


def test_two_things_to_run_and_unknown_arguments_are_refused() -> None:
    with pytest.raises(NotSendable, match="not both shell and module"):
        job_body({"shell": "x", "module": ["y"]})
    with pytest.raises(TypeError, match="no argument 'imagee'"):
        job_body({"imagee": "x"})


@pytest.mark.parametrize(
    ("words", "executor"),
    [
        (
            ["python", "train.py", "--lr", "1"],
            {"target": "train.py", "args": ["--lr", "1"], "targetType": "FILENAME"},
        ),
        (["python", "-m", "pkg.train", "x"], {"target": "pkg.train", "args": ["x"], "targetType": "MODULE"}),
        (["here.py", "a b"], {"target": "here.py", "args": ["a b"], "targetType": "FILENAME"}),
        (["echo hi | wc"], {"command": "echo hi | wc"}),
        (["echo", "a b", "$HOME"], {"command": "echo 'a b' '$HOME'"}),
        (["python", "-c", "print(1)"], {"command": "python -c 'print(1)'"}),
    ],
)
def test_executor_is_chosen_by_what_is_given(words: list[str], executor: dict[str, Any]) -> None:
    put("here.py", "print(1)")
    body = body_of({}, words)
    assert executor in [value for key, value in body.items() if key.endswith("Executor")]
    assert body.get("files") == ({"here.py": "print(1)"} if words[0] == "here.py" else None)


def test_notebook_goes_with_its_parameters_which_are_json_or_text() -> None:
    put("report.ipynb", '{"nbformat": 4, "cells": []}')
    body = body_of({"parameters": ["rate=0.1", "name=ann", "deep=[1]"]}, ["report.ipynb"])
    assert body["notebookExecutor"] == {
        "notebookFilename": "report.ipynb",
        "content": {"nbformat": 4, "cells": []},
        "parameters": {"rate": 0.1, "name": "ann", "deep": [1]},
    }


def test_whole_body_of_a_file_is_overlaid_by_options() -> None:
    put("job.json", '{"nodePoolId": "gpus", "numRanks": 2, "displayName": "x"}')
    body = body_of({"body": Path("job.json"), "ranks": 4}, [], pool="default")
    assert body == {"nodePoolId": "gpus", "numRanks": 4, "displayName": "x"}


def test_option_changes_its_part_of_a_map_of_the_body_and_leaves_the_rest() -> None:
    put("a.txt", "new")
    whole = {
        "resources": {"cpu": "2", "memory": "1Gi"},
        "timeouts": {"queue": "60s", "run": "1s"},
        "retryPolicy": {"maxAttempts": 1, "rules": [{"action": "FAIL"}]},
        "envVars": {"A": "1", "B": "2"},
        "secretEnvVars": {"S": "s"},
        "annotations": {"team": "vision"},
        "nodeLabels": {"disk": "ssd"},
        "files": {"a.txt": "old", "b.txt": "b"},
    }
    put("job.json", json.dumps(whole))
    options = {
        "memory": "4Gi",
        "run_timeout": "10m",
        "attempts": 3,
        "env": ["B=3"],
        "secret_env": ["T=t"],
        "annotations": ["run=7"],
        "labels": ["gpu=a100"],
        "files": [Path("a.txt")],
    }
    assert body_of({"body": Path("job.json"), **options}) == {
        "resources": {"cpu": "2", "memory": "4Gi"},
        "timeouts": {"queue": "60s", "run": "600s"},
        "retryPolicy": {"maxAttempts": 3, "rules": [{"action": "FAIL"}]},
        "envVars": {"A": "1", "B": "3"},
        "secretEnvVars": {"S": "s", "T": "t"},
        "annotations": {"team": "vision", "run": "7"},
        "nodeLabels": {"disk": "ssd", "gpu": "a100"},
        "files": {"a.txt": "new", "b.txt": "b"},
    }
    assert over({"resources": None}, {"resources": {"cpu": "1"}}) == {"resources": {"cpu": "1"}}
    assert over({"resources": {"cpu": "1"}}, {"resources": None}) == {"resources": None}


def test_command_takes_the_place_of_whatever_a_body_runs() -> None:
    put("job.json", '{"pythonExecutor": {"target": "x.py"}, "numRanks": 2}')
    assert body_of({"body": Path("job.json")}, ["true"]) == {"shellExecutor": {"command": "true"}, "numRanks": 2}
    assert "pythonExecutor" in body_of({"body": Path("job.json")})


def test_script_that_is_not_here_is_refused_with_the_way_to_run_one_of_the_image() -> None:
    with pytest.raises(NotSendable, match=r"-- python gone\.py"):
        body_of({}, ["gone.py"])
