"""`longshore` at a terminal of 80 columns, on a real engine: what is on the screen, and the exit codes."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pexpect
import pytest

from tests.lab.api_client import ApiClient
from tests.lab.images import PYTHON
from tests.lab.platform import ROOT, Platform, wait_until

COLUMNS = 80
_COMMAND = [sys.executable, "-m", "client.command_line"]
_QUESTION = "d = detach"
_ESCAPES = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]")
_JOB = re.compile(r"job ([a-z0-9-]+)")

Terminal = Callable[..., Any]


@pytest.fixture
def variables(platform: Platform, tmp_path: Path) -> dict[str, str]:
    key = platform.client.http.headers["Authorization"].removeprefix("Bearer ")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("LONGSHORE_", "NO_COLOR"))}
    return {
        **kept,
        "PYTHONPATH": str(ROOT),
        "TERM": "xterm-256color",
        "LONGSHORE_URL": platform.url,
        "LONGSHORE_ACCOUNT": platform.client.account,
        "LONGSHORE_API_KEY": key,
        "XDG_CONFIG_HOME": str(tmp_path / "config"),
    }


@pytest.fixture
def terminal(variables: dict[str, str], tmp_path: Path) -> Iterator[Terminal]:
    """Starts `longshore …` on a terminal of its own."""
    started: list[Any] = []

    def start(*words: str, **more: str) -> Any:
        process = pexpect.spawn(
            _COMMAND[0],
            [*_COMMAND[1:], *words],
            env={**variables, **more},
            cwd=str(tmp_path),
            dimensions=(24, COLUMNS),
            encoding="utf-8",
            timeout=90,
        )
        process.logfile_read = Screenful()
        started.append(process)
        return process

    yield start
    for process in started:
        process.close(force=True)


class Screenful:
    """What a terminal was sent."""

    def __init__(self) -> None:
        self.text = ""

    def write(self, text: str) -> None:
        self.text += text

    def flush(self) -> None:
        """There is nothing to flush."""

    @property
    def lines(self) -> list[str]:
        """The lines that stay, without colours; of one that was written over, what it became last."""
        whole = _ESCAPES.sub("", self.text).replace("\r\n", "\n")
        return [line.rpartition("\r")[2] for line in whole.split("\n")]


def run(variables: dict[str, str], folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """The same without a terminal."""
    return subprocess.run(
        [*_COMMAND, *words], env=variables, cwd=folder, capture_output=True, text=True, timeout=120, check=False
    )


def ended(process: Any) -> int:
    process.expect(pexpect.EOF)
    process.wait()
    return int(process.exitstatus)


def job_of(process: Any) -> str:
    process.expect(_JOB)
    return str(process.match[1])


def test_submit_shows_output_of_all_ranks_behind_coloured_prefixes_and_exits_0(
    terminal: Terminal, client: ApiClient, busybox: str
) -> None:
    session = terminal("submit", "--image", busybox, "--ranks", "2", "--name", "shown", "echo hello from $RANK")
    job_id = job_of(session)
    assert ended(session) == 0
    shown = session.logfile_read
    assert {"rank-0 │ hello from 0", "rank-1 │ hello from 1"} <= set(shown.lines)
    assert "\x1b[36mrank-0 │\x1b[0m hello from 0" in shown.text
    assert any(line.startswith("completed after") for line in shown.lines)
    assert all(len(line) <= COLUMNS for line in shown.lines), shown.lines
    assert client.get(job_id)["displayName"] == "shown"


def test_submit_of_a_job_that_fails_exits_with_the_code_of_its_first_rank(
    terminal: Terminal, busybox: str
) -> None:
    session = terminal(
        "submit", "--image", busybox, "-n", "3", "if [ $RANK = 1 ]; then echo out of luck; exit 42; fi; sleep 60"
    )
    assert ended(session) == 42
    text = " ".join(session.logfile_read.lines)
    assert "failed after" in text and "rank 1 failed first on node local: exit code 42" in text


def test_submit_of_a_rank_alone_has_no_prefix_and_no_color_has_none(terminal: Terminal, busybox: str) -> None:
    session = terminal("submit", "--image", busybox, r"printf 'plain \033[31mred\033[0m\n'", NO_COLOR="1")
    assert ended(session) == 0
    assert "plain red" in session.logfile_read.lines
    assert "\x1b[36m" not in session.logfile_read.text


def test_submit_shows_why_a_job_waits_and_ctrl_c_can_cancel_it(
    terminal: Terminal, client: ApiClient, busybox: str
) -> None:
    session = terminal("submit", "--image", busybox, "--ranks", "9", "true")
    job_id = job_of(session)
    session.expect("the pool has 8")
    session.sendintr()
    session.expect(_QUESTION)
    session.sendline("c")
    assert ended(session) == 143
    assert client.get(job_id)["state"] == "CANCELLED"
    assert any(line.startswith("cancelled") for line in session.logfile_read.lines)


def test_ctrl_c_detaches_and_the_job_goes_on_to_be_followed_and_cancelled_elsewhere(
    terminal: Terminal, client: ApiClient, variables: dict[str, str], tmp_path: Path, busybox: str
) -> None:
    session = terminal("submit", "--image", busybox, "echo begun; trap 'exit 1' TERM; while :; do sleep 0.1; done")
    job_id = job_of(session)
    session.expect("begun")
    session.sendintr()
    session.expect(_QUESTION)
    session.sendline("d")
    assert ended(session) == 130
    assert f"longshore logs -f {job_id}" in [line.strip() for line in session.logfile_read.lines]
    assert client.get(job_id)["state"] == "RUNNING"

    following = terminal("logs", "-f", job_id)
    following.expect("begun")
    following.sendintr()
    assert ended(following) == 130

    assert run(variables, tmp_path, "wait", "--timeout", "1s", job_id).returncode == 75
    waiting = terminal("wait", job_id)
    cancelled = run(variables, tmp_path, "cancel", job_id)
    assert (cancelled.returncode, cancelled.stdout) == (0, "")
    assert ended(waiting) == 143


def test_second_ctrl_c_detaches_and_enter_goes_on(terminal: Terminal, client: ApiClient, busybox: str) -> None:
    command = "echo begun; i=0; while :; do sleep 0.2; i=$((i+1)); echo line $i; done"
    session = terminal("submit", "--image", busybox, "--timeout", "5m", command)
    job_id = job_of(session)
    session.expect("begun")
    session.sendintr()
    session.expect(_QUESTION)
    session.sendline("")
    session.expect(r"line \d+\r\n")
    session.expect(r"line \d+\r\n")
    session.sendintr()
    session.expect(_QUESTION)
    session.sendintr()
    assert ended(session) == 130
    client.cancel(job_id)
    # The terminal echoes ^C at once, before a line that was on its way.
    told = [re.fullmatch(r"(?:\^C)?line (\d+)", line) for line in session.logfile_read.lines]
    numbers = [int(line[1]) for line in told if line]
    # Nothing was lost or told twice while it asked.
    assert numbers == list(range(1, len(numbers) + 1)) and len(numbers) >= 2, session.logfile_read.lines


def test_script_that_is_here_is_sent_along_with_what_it_imports(
    variables: dict[str, str], tmp_path: Path, client: ApiClient
) -> None:
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib" / "words.txt").write_text("from here\n")
    (tmp_path / "go.py").write_text("import sys; print(open('lib/words.txt').read().strip(), sys.argv[1:])\n")
    done = run(variables, tmp_path, "submit", "--image", PYTHON, "-f", "lib", "go.py", "--rate", "0.1")
    assert (done.returncode, done.stdout) == (0, "from here ['--rate', '0.1']\n"), done.stderr


def test_without_a_terminal_results_are_on_stdout_alone_and_nothing_moves_a_cursor(
    variables: dict[str, str], tmp_path: Path, client: ApiClient, busybox: str
) -> None:
    done = run(variables, tmp_path, "submit", "--image", busybox, "-n", "2", "echo $RANK; exit $((RANK * 5))")
    assert done.returncode == 5
    assert set(done.stdout.splitlines()) == {"rank-0 │ 0", "rank-1 │ 1"}
    assert "\x1b" not in done.stdout + done.stderr and "failed" in done.stderr
    made = run(variables, tmp_path, "submit", "-d", "--image", busybox, "echo once")
    job_id = made.stdout.strip()
    assert made.stdout == f"{job_id}\n" and made.stderr == ""
    assert run(variables, tmp_path, "wait", job_id).returncode == 0
    assert run(variables, tmp_path, "logs", job_id).stdout == "once\n"
    cloned = run(variables, tmp_path, "clone", job_id, "-e", "A=1")
    assert (cloned.returncode, cloned.stdout) == (0, "once\n"), cloned.stderr
    assert run(variables, tmp_path, "rm", job_id).returncode == 0

    def is_gone() -> bool:
        return run(variables, tmp_path, "show", job_id).returncode == 66

    wait_until(is_gone, 30, "the job is gone")
