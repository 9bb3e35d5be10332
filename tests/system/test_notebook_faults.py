"""F-28: kernels that are killed, hang, are late or never come, and notebooks that print far too much."""

from __future__ import annotations

import json
import re
import time
from typing import Any

import pytest

from tests.lab.api_client import ApiClient, Json
from tests.lab.images import ensure_work
from tests.lab.notebooks import notebook
from tests.lab.platform import Platform
from tests.lab.stored_output import records

_LAUNCH = "exec python3 -m ipykernel_launcher -f"
_LINE = "line %07d " + "x" * 87


def kernel(command: str) -> str:
    """A kernel's specification: a shell command, with the connection file as `$0`."""
    start = {"argv": ["/bin/sh", "-c", command, "{connection_file}"], "display_name": "K", "language": "python"}
    return json.dumps(start)


def of_kernel(name: str, *sources: str) -> str:
    return notebook(*sources, kernelspec={"name": name, "display_name": "K", "language": "python"})


def printing(count: int) -> str:
    return notebook("before = 1", f"for i in range({count}): print({_LINE!r} % i)", "print('after')")


FILES = {
    "killed.ipynb": notebook("print('before')", "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"),
    "endless.ipynb": notebook("print('before')", "while True: pass"),
    "late.ipynb": of_kernel("late", "print('here')"),
    "very-late.ipynb": of_kernel("very-late", "print('here')"),
    "dead.ipynb": of_kernel("dead", "print('here')"),
    "silent.ipynb": of_kernel("silent", "print('here')"),
    "some.ipynb": printing(20_000),
    "much.ipynb": printing(1_000_000),
    "kernels/kernels/late/kernel.json": kernel(f'sleep 8; {_LAUNCH} "$0"'),
    "kernels/kernels/very-late/kernel.json": kernel(f'sleep 60; {_LAUNCH} "$0"'),
    "kernels/kernels/dead/kernel.json": kernel("exit 3"),
    "kernels/kernels/silent/kernel.json": kernel("exec sleep 3600"),
}
#: Beside the notebooks, which is where the image's programs begin.
_KERNELS = {"JUPYTER_PATH": "kernels"}


@pytest.fixture(scope="module")
def work() -> str:
    return ensure_work(FILES)


def start(client: ApiClient, image: str, name: str, **body: Any) -> str:
    executor = {"notebookFilename": name}
    job = client.create(imageRef=image, numRanks=1, envVars=_KERNELS, notebookExecutor=executor, **body)
    return str(job["id"])


def kept_text(client: ApiClient, job_id: str) -> str:
    """What the cells of the kept notebook have printed."""
    cells: list[Json] = client.notebook(job_id)["cells"]
    return "".join("".join(output.get("text", "")) for cell in cells for output in cell.get("outputs", ()))


def test_kernel_that_is_killed_fails_the_job_soon_and_what_it_had_is_kept(client: ApiClient, work: str) -> None:
    job = start(client, work, "killed.ipynb")
    client.wait_for(job, lambda seen: seen["state"] == "RUNNING", 60)
    running = time.monotonic()
    done = client.wait_end(job, 90)
    assert time.monotonic() - running < 60
    assert done["state"] == "FAILED"
    assert "cell 2 (import os, signal; " in done["status"] and "Kernel died" in done["status"]
    assert "before" in kept_text(client, job)


def test_endless_cell_is_ended_by_the_clock_and_what_came_before_is_kept(client: ApiClient, work: str) -> None:
    job = start(client, work, "endless.ipynb", timeouts={"run": "12s"}, stopGracePeriod="1s")
    done = client.wait_end(job, 90)
    assert (done["state"], done["reason"]) == ("FAILED", "RUN_TIMEOUT")
    assert "before" in client.lines(job)
    assert "before" in kept_text(client, job)


@pytest.mark.parametrize("name", ["late", pytest.param("very-late", marks=pytest.mark.slow)])
def test_kernel_that_starts_late_is_waited_for(client: ApiClient, work: str, name: str) -> None:
    done = client.wait_end(job := start(client, work, f"{name}.ipynb"), 150)
    assert done["state"] == "COMPLETED", done["status"]
    assert "here" in client.lines(job)


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("dead", "Kernel died"),
        pytest.param("silent", "Kernel didn't respond in 180 seconds", marks=pytest.mark.slow),
    ],
)
@pytest.mark.timeout(400)
def test_kernel_that_never_starts_is_named_as_the_reason(
    client: ApiClient, work: str, name: str, sentence: str
) -> None:
    done = client.wait_end(start(client, work, f"{name}.ipynb"), 300)
    assert done["state"] == "FAILED"
    assert sentence in done["status"]


@pytest.mark.parametrize(
    ("name", "count"), [("some", 20_000), pytest.param("much", 1_000_000, marks=pytest.mark.slow)]
)
@pytest.mark.timeout(1200)
def test_everything_that_a_notebook_prints_is_stored_in_order(
    client: ApiClient, platform: Platform, work: str, name: str, count: int
) -> None:
    done = client.wait_end(job := start(client, work, f"{name}.ipynb"), 1000)
    assert done["state"] == "COMPLETED", done["status"]
    # papermill ends each piece of output that a kernel sends with a newline, wherever it was cut.
    printed = b"".join(
        record.data for record in records(platform.database_url, platform.object_store_url, job)
    ).replace(b"\n", b"")
    numbers = [int(found) for found in re.findall(rb"line (\d{7}) x{87}", printed)]
    assert numbers == list(range(count))
