"""Files that come with a job: kept as they came, shown by name, taken along by a clone."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from sqlalchemy import func, select

from core.database import Database
from core.models import JobFile
from tests.api.conftest import IMAGE

Json = dict[str, Any]
NOTEBOOK: Json = {"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": [], "note": "\0 ü"}


def _made(answer: httpx.Response) -> Json:
    assert answer.status_code == 200, answer.text
    made: Json = answer.json()
    made["id"] = made["name"].rpartition("/")[2]
    return made


def _create(client: httpx.Client, **fields: Any) -> Json:
    return _made(client.post("/batchJobs", json={"nodePoolId": "default", "imageRef": IMAGE, **fields}))


def _content(client: httpx.Client, job: Json, name: str) -> bytes:
    answer = client.get(f"/batchJobs/{job['id']}/files/{name}")
    assert answer.status_code == 200, answer.text
    return answer.content


@pytest.mark.parametrize(
    "content", ["", "print('ü')\r\n", "a\0b", "x" * (5 << 20)], ids=["empty", "text", "nul", "5M"]
)
def test_file_is_kept_as_it_came(admin: httpx.Client, content: str) -> None:
    job = _create(admin, files={"src/train.py": content})
    raw = content.encode()
    mark = {"name": "src/train.py", "sizeBytes": len(raw), "sha256": hashlib.sha256(raw).hexdigest()}
    assert job["uploads"] == [mark]
    assert admin.get(f"/batchJobs/{job['id']}").json()["uploads"] == [mark]
    answer = admin.get(f"/batchJobs/{job['id']}/files/src/train.py")
    assert answer.content == raw
    # A page of the API's own origin must not come of it.
    assert answer.headers["content-type"] == "application/octet-stream"
    assert answer.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize("given", [NOTEBOOK, json.dumps(NOTEBOOK)], ids=["object", "text"])
def test_notebook_that_comes_with_the_job_is_one_of_its_files(admin: httpx.Client, given: Json | str) -> None:
    job = _create(admin, notebookExecutor={"content": given, "parameters": {"x": 1}})
    assert job["notebookExecutor"] == {"notebookFilename": "notebook.ipynb", "parameters": {"x": 1}}
    assert json.loads(_content(admin, job, "notebook.ipynb")) == NOTEBOOK
    named = _create(admin, notebookExecutor={"notebookFilename": "a/b.ipynb", "content": given})
    assert json.loads(_content(admin, named, "a/b.ipynb")) == NOTEBOOK


def test_job_without_files_has_none(admin: httpx.Client) -> None:
    job = _create(admin)
    assert job["uploads"] == []
    assert admin.get(f"/batchJobs/{job['id']}/files/a.py").status_code == 404


def test_clone_has_the_files_of_the_other_but_for_those_that_it_brings(admin: httpx.Client) -> None:
    files = {"a.py": "old", "b.py": "same"}
    source = _create(admin, files=files, notebookExecutor={"content": NOTEBOOK})
    path = f"/batchJobs/{source['id']}:clone"
    body = {
        "files": {"a.py": "new"},
        "notebookExecutor": {"notebookFilename": "notebook.ipynb", "parameters": {"x": 2}},
    }
    clone = _made(admin.post(path, json=body))
    assert {each["name"] for each in clone["uploads"]} == {"a.py", "b.py", "notebook.ipynb"}
    assert (_content(admin, clone, "a.py"), _content(admin, clone, "b.py")) == (b"new", b"same")
    assert json.loads(_content(admin, clone, "notebook.ipynb")) == NOTEBOOK
    assert _content(admin, source, "a.py") == b"old"
    # Together they are as limited as those of any other job.
    answer = admin.post(path, json={"files": {f"{number}.py": "" for number in range(99)}})
    assert answer.status_code == 400 and "must be at most 100, not 102" in answer.text


def test_same_key_with_another_content_is_refused(admin: httpx.Client) -> None:
    body = {"nodePoolId": "default", "imageRef": IMAGE, "files": {"a.py": "one"}}
    key = {"Idempotency-Key": "content"}
    first = _made(admin.post("/batchJobs", json=body, headers=key))
    assert _made(admin.post("/batchJobs", json=body, headers=key))["id"] == first["id"]
    assert admin.post("/batchJobs", json={**body, "files": {"a.py": "two"}}, headers=key).status_code == 409


def test_dry_run_stores_no_file_and_deletion_removes_them(admin: httpx.Client, database: Database) -> None:
    def count() -> int:
        with database.transaction() as connection:
            return connection.execute(select(func.count()).select_from(JobFile)).scalar_one()

    before = count()
    body = {"nodePoolId": "default", "imageRef": IMAGE, "files": {"a.py": "x"}}
    dry = admin.post("/batchJobs", params={"validateOnly": "true"}, json=body)
    assert [each["name"] for each in dry.json()["uploads"]] == ["a.py"]
    assert count() == before
    job = _create(admin, files={"a.py": "x", "b.py": "y"})
    assert count() == before + 2
    assert admin.delete(f"/batchJobs/{job['id']}").status_code == 200
    assert count() == before


def test_another_account_sees_no_file(stranger: httpx.Client, create: Callable[..., str]) -> None:
    job = create(files={"a.py": "x"})
    there, nowhere = (stranger.get(f"/batchJobs/{each}/files/a.py") for each in (job, "nothing"))
    assert there.status_code == nowhere.status_code == 404
    assert there.json()["message"].replace(job, "") == nowhere.json()["message"].replace("nothing", "")
