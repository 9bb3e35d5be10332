"""Files and notebooks that come with a job: nobody has to build an image to run them."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from tests.lab.api_client import ApiClient
from tests.lab.images import NOTEBOOK, PYTHON
from tests.lab.notebooks import notebook
from tests.lab.platform import wait_until

_SHOW = 'for f in "$@"; do echo "$f $(stat -c %a "$f") $(cat "$f")"; done'


def run(client: ApiClient, image: str, ranks: int = 1, **body: Any) -> tuple[dict[str, Any], str]:
    job = client.create(imageRef=image, numRanks=ranks, **body)
    return client.wait_end(job["id"], 120), job["id"]


@pytest.mark.parametrize("folder", ["", "/there/is/none/yet"])
def test_every_rank_finds_the_files_in_its_working_directory(client: ApiClient, busybox: str, folder: str) -> None:
    files = {"a.txt": "one ü", "sub/b.txt": "two", "go.sh": f"#!/bin/sh\n{_SHOW}; pwd"}
    done, job = run(
        client,
        busybox,
        ranks=2,
        files=files,
        workingDirectory=folder,
        shellExecutor={"command": "./go.sh a.txt sub/b.txt go.sh | head -4; pwd"},
    )
    assert done["state"] == "COMPLETED", done["status"]
    for rank in range(2):
        lines = client.lines(job, rank=rank)
        assert lines[:3] == ["a.txt 644 one ü", "sub/b.txt 644 two", "go.sh 755 #!/bin/sh"]
        assert lines[-1] == (folder or "/")


def test_python_runs_a_file_and_a_module_that_came_with_the_job(client: ApiClient) -> None:
    files = {"train.py": "import pkg.data; print('file', pkg.data.N)", "pkg/data.py": "N = 7\nprint('module')"}
    for kind, target in (("FILENAME", "train.py"), ("MODULE", "pkg.data")):
        executor = {"targetType": kind, "target": target}
        done, job = run(client, PYTHON, files=files, pythonExecutor=executor)
        assert done["state"] == "COMPLETED", done["status"]
        assert client.lines(job) == (["module", "file 7"] if kind == "FILENAME" else ["module"])


def test_notebook_that_came_with_the_job_runs_and_is_read_as_a_page(client: ApiClient) -> None:
    content = notebook("x = 1", "import helper; print(helper.twice(x))")
    done, job = run(
        client,
        NOTEBOOK,
        files={"helper.py": "def twice(x): return 2 * x"},
        notebookExecutor={"content": json.loads(content), "parameters": {"x": 21}},
    )
    assert done["state"] == "COMPLETED", done["status"]
    assert "42" in client.lines(job)
    page = client.page(job)
    assert "helper" in page and ">42\n" in page and "completed" in page
    clone = client.clone(job, notebookExecutor={"notebookFilename": "notebook.ipynb", "parameters": {"x": 4}})[
        "id"
    ]
    assert client.wait_end(clone, 120)["state"] == "COMPLETED"
    assert "8" in client.lines(clone)


def test_notebook_that_fails_shows_the_failed_cell_on_its_page(client: ApiClient) -> None:
    content = notebook("print('before')", "1 / 0", "print('after')")
    done, job = run(client, NOTEBOOK, notebookExecutor={"content": content})
    assert done["state"] == "FAILED"
    page = client.page(job)
    assert 'class="ran ran-failed"' in page and 'class="ran ran-pending"' in page and "ZeroDivisionError" in page


def test_notebook_that_runs_can_be_read_as_far_as_it_has_come(client: ApiClient) -> None:
    content = notebook("print('first done')", "import time; print('waiting', flush=True); time.sleep(600)", "3")
    job = client.create(imageRef=NOTEBOOK, notebookExecutor={"content": content}, stopGracePeriod="1s")["id"]

    def shows_progress() -> bool:
        answer = client.http.get(f"/batchJobs/{job}/ranks/0/notebook", params={"format": "html"})
        return answer.status_code == 200 and "waiting" in answer.text

    wait_until(shows_progress, 60, "the running notebook shows what it has printed", every=0.5)
    assert client.get(job)["state"] == "RUNNING"
    page = client.page(job)
    assert "first done" in page and re.findall(r'class="ran ran-(\w+)"', page) == [
        "completed",
        "running",
        "pending",
    ]
    client.cancel(job)
    assert client.wait_end(job)["state"] == "CANCELLED"
    assert "first done" in client.page(job)
