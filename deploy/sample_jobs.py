"""The three sample jobs: submitted over HTTP as any client would, followed to their end, told in a table."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx

from deploy.base_image import PYTHON_IMAGE
from deploy.processes import SetupError, wait_until
from deploy.steps import elapsed_seconds, say

_FOLDER = Path(__file__).parent / "samples"
_END_STATES = ("COMPLETED", "FAILED", "CANCELLED")
_DEADLINE_SECONDS = 180.0


@dataclass(frozen=True)
class Sample:
    """One job to show: what is asked for, and what of its log is its result."""

    name: str
    request: Mapping[str, object]
    result: re.Pattern[str]
    keep_notebook: bool = False


@dataclass
class Outcome:
    """What became of it."""

    sample: Sample
    job_id: str
    status: str = ""
    state: str = ""
    job: Mapping[str, Any] = field(default_factory=dict)
    result: str = ""

    @property
    def seconds(self) -> float:
        """From create to end, by the platform's own clock."""
        began, ended = self.job.get("createTime"), self.job.get("endTime")
        if not began or not ended:
            return 0.0
        return (datetime.fromisoformat(ended) - datetime.fromisoformat(began)).total_seconds()


def samples(samples_image: str) -> list[Sample]:
    """The jobs, given the image that holds their code."""
    return [
        Sample(
            "shell: 4 ranks meet",
            {
                "numRanks": 4,
                "imageRef": PYTHON_IMAGE,
                "shellExecutor": {"command": (_FOLDER / "gather.sh").read_text()},
            },
            re.compile("^gathered"),
        ),
        Sample(
            "python: gradients averaged",
            {
                "numRanks": 2,
                "imageRef": samples_image,
                "pythonExecutor": {"targetType": "MODULE", "target": "averaged_gradients", "args": ["300"]},
            },
            re.compile("^rank 0: test accuracy"),
        ),
        Sample(
            "notebook: digits",
            {
                "numRanks": 1,
                "imageRef": samples_image,
                "notebookExecutor": {"notebookFilename": "digits.ipynb"},
            },
            re.compile("^accuracy"),
            keep_notebook=True,
        ),
    ]


class SampleRun:
    """Runs samples against an API and keeps what they leave."""

    def __init__(self, *, url: str, account: str, key: str, check: Callable[[], None]) -> None:
        self._client = httpx.Client(
            base_url=f"{url}/v1/accounts/{account}/",
            headers={"Authorization": f"Bearer {key}"},
            timeout=30,
            trust_env=False,
        )
        self._check = check

    def run(self, wanted: Sequence[Sample], keep: Path) -> list[Outcome]:
        """Submit all at once and follow them; SetupError when they do not end in time."""
        outcomes = [Outcome(sample, self._submit(sample)) for sample in wanted]

        def open_ones() -> list[Outcome]:
            return [outcome for outcome in outcomes if outcome.state not in _END_STATES]

        def have_ended() -> bool:
            self._check()
            for outcome in open_ones():
                self._look(outcome)
            return not open_ones()

        if not wait_until(have_ended, _DEADLINE_SECONDS, every=0.15):
            names = ", ".join(f"{one.sample.name} ({one.state}: {one.status})" for one in open_ones())
            raise SetupError(f"not ended in {_DEADLINE_SECONDS:.0f} s: {names}; see the logs in .longshore/log")
        for outcome in outcomes:
            self._collect(outcome, keep)
        return outcomes

    def _submit(self, sample: Sample) -> str:
        body = {"displayName": sample.name, "nodePoolId": "default", **sample.request}
        return str(self._ask("POST", "batchJobs", json=body).json()["name"]).rpartition("/")[2]

    def _look(self, outcome: Outcome) -> None:
        job = self._ask("GET", f"batchJobs/{outcome.job_id}").json()
        state, status = str(job["state"]), _status_line(job.get("status"))
        if (state, status) != (outcome.state, outcome.status):
            say(f"{elapsed_seconds():6.1f} s    {outcome.sample.name:<27} {state:<10} {status[:70]}")
        outcome.job, outcome.state, outcome.status = job, state, status

    def _collect(self, outcome: Outcome, keep: Path) -> None:
        keep.mkdir(parents=True, exist_ok=True)
        lines = self._log_lines(outcome.job_id)
        stem = outcome.sample.name.split(":")[0]
        (keep / f"{stem}.log").write_text("\n".join(lines) + "\n")
        said = [line for line in lines if outcome.sample.result.search(line)]
        outcome.result = said[-1] if said else (lines[-1] if lines else outcome.status)
        # One that failed before its notebook was run has none to keep; the table says why it failed.
        if outcome.sample.keep_notebook and outcome.state == "COMPLETED":
            answer = self._ask("GET", f"batchJobs/{outcome.job_id}/ranks/0/notebook")
            (keep / f"{stem}.ipynb").write_bytes(answer.content)

    def _log_lines(self, job_id: str) -> list[str]:
        lines: list[str] = []
        query = {"startFromHead": "true", "pageSize": "1000"}
        while True:
            page = self._ask("GET", f"batchJobs/{job_id}:getLogs", params=query).json()
            lines += [str(entry["message"]).rstrip("\n") for entry in page["entries"]]
            if not page.get("nextPageToken"):
                return lines
            query["pageToken"] = page["nextPageToken"]

    def _ask(self, method: str, path: str, **what: Any) -> httpx.Response:
        try:
            answer = self._client.request(method, path, **what)
        except httpx.HTTPError as error:
            raise SetupError(f"the API does not answer ({error}); see .longshore/log/api.log") from error
        if answer.is_error:
            raise SetupError(f"{method} {path} was answered {answer.status_code}: {answer.text[:300]}")
        return answer


def table(outcomes: Sequence[Outcome]) -> str:
    """The outcomes as lines of columns."""
    head = ("sample", "job", "state", "ranks", "time", "result")
    rows = [
        (
            outcome.sample.name,
            outcome.job_id,
            outcome.state,
            str(outcome.job.get("numRanks", "")),
            f"{outcome.seconds:.1f} s",
            outcome.result if outcome.state == "COMPLETED" else outcome.status or outcome.result,
        )
        for outcome in outcomes
    ]
    widths = [max(len(row[column]) for row in [head, *rows]) for column in range(len(head))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in [head, tuple("-" * width for width in widths), *rows]
    )


def _status_line(status: object) -> str:
    """The status as a sentence, whether it comes as text or as code and message."""
    if isinstance(status, Mapping):
        return str(status.get("message") or status.get("code") or "")
    return str(status or "")
