"""Every command as a process without a terminal: what is on stdout, what on stderr, the exit code."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from client import Job, Longshore
from client.command_line.app import app
from core.settings import Settings
from deploy.secret_keys import ensure_keys
from tests.api.conftest import IMAGE, Served, serving
from tests.client.conftest import Run, Say

COMMANDS = [
    "submit",
    "clone",
    "ps",
    "show",
    "logs",
    "wait",
    "cancel",
    "rm",
    "events",
    "explain",
    "notebook",
    "open",
    "outputs",
    "cp",
    "pools",
    "nodes",
    "drain",
    "undrain",
    "users",
    "keys",
    "secrets",
    "profiles",
    "doctor",
]


def test_job_is_made_listed_shown_explained_cancelled_waited_for_and_removed(run: Run) -> None:
    made = run("submit", "-d", "--image", IMAGE, "--name", "by hand", "-e", "A=1", "-n", "3", "echo", "a b")
    assert (made.returncode, made.stderr) == (0, "")
    job_id = made.stdout.strip()
    listed = run("ps")
    assert job_id in listed.stdout and "by hand" in listed.stdout and "QUEUED" in listed.stdout
    [found] = json.loads(run("ps", "--json", "--filter", 'displayName = "by hand"').stdout)
    assert found["shellExecutor"] == {"command": "echo 'a b'"} and found["envVars"] == {"A": "1"}
    shown = run("show", job_id)
    assert "echo 'a b'" in shown.stdout and "WAITING" in shown.stdout
    assert json.loads(run("show", job_id, "--json").stdout)["ranks"][2]["rank"] == 2
    assert "3 slots in pool default" in run("explain", job_id).stdout
    assert "QUEUED" in run("events", job_id).stdout
    late = run("wait", "--timeout", "0.2s", job_id)
    assert late.returncode == 75 and "go on" in late.stderr
    assert run("cancel", job_id).returncode == 0
    waited = run("wait", job_id, "--json")
    assert waited.returncode == 143 and json.loads(waited.stdout)[0]["exitCode"] == 143
    assert run("rm", job_id).returncode == 0
    gone = run("show", job_id)
    assert (gone.returncode, gone.stdout) == (66, "") and gone.stderr.count("\n") == 1


def test_logs_are_told_whole_by_rank_by_pattern_and_to_the_end(
    run: Run, running: Job, say: Say, end: Callable[[], None]
) -> None:
    say(0, "step 1", "loss 0.5")
    say(1, "step 1", "\x1b[31mloss\x1b[0m 0.4", at=10)
    assert run("logs", running.id, "--rank", "0").stdout == "step 1\nloss 0.5\n"
    assert run("logs", running.id, "--grep", "^step").stdout == "rank-0 │ step 1\nrank-1 │ step 1\n"
    assert run("logs", running.id, "-n", "1").stdout == "rank-1 │ \x1b[31mloss\x1b[0m 0.4\n"
    [first, *_] = run("logs", running.id, "--json").stdout.splitlines()
    assert json.loads(first)["message"] == "step 1"
    assert run("logs", running.id, "--since", "1h").stdout == ""
    end()
    followed = run("logs", "-f", running.id)
    assert followed.returncode == 0 and len(followed.stdout.splitlines()) == 4


def test_wait_of_more_jobs_than_an_account_may_stream_takes_them_in_turn(
    run: Run, settings: Settings, served: Served
) -> None:
    narrow = settings.model_copy(update={"max_streams_per_account": 20})
    with serving(narrow) as url, Longshore(url, served.admin_key, "acme") as longshore:
        jobs = [longshore.submit(image=IMAGE, pool="default") for _ in range(22)]
        ids = [job.id for job in jobs]
        late = run("wait", "--timeout", "4s", *ids, LONGSHORE_URL=url)
        assert late.returncode == 75 and "trying again" not in late.stderr, late.stderr
        for job in jobs:
            job.cancel()
        waited = run("wait", *ids, "--json", LONGSHORE_URL=url)
        assert (
            waited.returncode == 143
            and [each["state"] for each in json.loads(waited.stdout)] == ["CANCELLED"] * 22
        )


def test_dry_run_says_what_would_be_and_makes_nothing(run: Run) -> None:
    body = json.dumps({"imageRef": IMAGE, "numRanks": 2, "nodePoolId": "default", "displayName": "dry"})
    said = run("explain", "--body", "-", stdin=body)
    assert said.returncode == 0 and "needs" in said.stdout and "2 slots" in said.stdout
    assert json.loads(run("ps", "-a", "--json", "--filter", 'displayName = "dry"').stdout) == []


def test_clone_changes_one_variable_and_keeps_the_others(run: Run) -> None:
    source = run("submit", "-d", "--image", IMAGE, "-e", "A=1", "-e", "B=2", "true").stdout.strip()
    copy = json.loads(run("clone", "-d", "--json", source, "-e", "B=3").stdout)
    assert copy["envVars"] == {"A": "1", "B": "3"}


def test_clone_changes_one_resource_clock_and_policy_and_keeps_the_others(run: Run, longshore: Longshore) -> None:
    source = longshore.submit(
        image=IMAGE,
        pool="default",
        cpu=2,
        memory="1Gi",
        queue_timeout=3600,
        run_timeout=60,
        python=["x.py"],
        fields={"retryPolicy": {"maxAttempts": 2, "rules": [{"action": "FAIL", "exitCodes": ["3"]}]}},
    )
    rules = source.fields["retryPolicy"]["rules"]
    words = ["--memory", "2Gi", "--timeout", "5m", "--attempts", "4"]
    done = run("clone", "-d", "--json", source.id, *words)
    assert done.returncode == 0, done.stderr
    copy = json.loads(done.stdout)
    assert (copy["resources"]["cpu"], copy["resources"]["memory"]) == (source.fields["resources"]["cpu"], "2Gi")
    assert (copy["timeouts"]["queue"], copy["timeouts"]["run"]) == ("3600s", "300s")
    assert (copy["retryPolicy"]["maxAttempts"], copy["retryPolicy"]["rules"]) == (4, rules)
    other = run("clone", "-d", "--json", source.id, "--body", "-", stdin='{"shellExecutor": {"command": "true"}}')
    assert other.returncode == 0, other.stderr
    assert "pythonExecutor" not in json.loads(other.stdout)


def test_users_and_keys_are_listed_and_changed(run: Run) -> None:
    user = run("users", "add", "eve@acme.example", "--name", "Eve").stdout.strip()
    assert user and "eve@acme.example" in run("users").stdout
    key = json.loads(run("keys", "new", "laptop", "--user", user, "--expires", "90d", "--json").stdout)
    assert key["key"].startswith("lsk_") and key["keyId"] in run("keys").stdout
    assert run("ps", LONGSHORE_API_KEY=key["key"]).returncode == 0
    assert run("keys", "revoke", key["keyId"]).returncode == 0
    assert run("users", "rm", user).returncode == 0


def test_pools_and_nodes_are_listed_and_a_node_that_is_not_there_is_told(run: Run) -> None:
    assert "default" in run("pools").stdout
    assert run("nodes").returncode == 0
    unknown = run("drain", "nosuch")
    assert unknown.returncode == 66 and "nosuch" in unknown.stderr


def test_secret_is_set_from_stdin_changed_by_its_name_and_never_shown(
    run: Run, settings: Settings, served: Served, tmp_path: Path
) -> None:
    keys = tmp_path / "secret-keys"
    ensure_keys(keys)
    with serving(settings.model_copy(update={"secret_keys_file": keys})) as url:
        for value in ("first\n", "second\n"):
            done = run("secrets", "set", "DB_PASSWORD", stdin=value, LONGSHORE_URL=url)
            assert (done.returncode, done.stdout) == (0, "db-password\n"), done.stderr
        listed = run("secrets", LONGSHORE_URL=url)
        assert "DB_PASSWORD" in listed.stdout and "second" not in listed.stdout
        assert run("secrets", "rm", "db-password", LONGSHORE_URL=url).returncode == 0
        assert json.loads(run("secrets", "--json", LONGSHORE_URL=url).stdout) == []


def test_profile_is_asked_for_once_and_used_from_then_on(run: Run, served: Served, tmp_path: Path) -> None:
    none = {"LONGSHORE_URL": "", "LONGSHORE_ACCOUNT": "", "LONGSHORE_API_KEY": ""}
    missing = run("ps", **none)
    assert missing.returncode == 78 and "longshore profiles add" in missing.stderr
    added = run(
        "profiles", "add", "work", "--url", served.url, "--account", "acme", stdin=served.admin_key, **none
    )
    assert added.returncode == 0, added.stderr
    file = tmp_path / "config" / "longshore" / "profiles.toml"
    assert file.stat().st_mode & 0o777 == 0o600
    assert run("ps", **none).returncode == 0
    assert served.admin_key not in run("profiles", **none).stdout + run("profiles", "--json", **none).stdout
    assert run("--profile", "other", "ps").returncode == 78
    assert run("profiles", "rm", "work", **none).returncode == 0
    assert run("ps", **none).returncode == 78


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["ps", "--nosuch"], 2, "--nosuch"),
        (["nosuch"], 2, "nosuch"),
        (["logs"], 2, "JOB"),
        (["show", "nosuch"], 66, "longshore ps -a"),
        (["submit", "-d", "--image", "no image", "true"], 1, "imageRef"),
        (["submit", "-d", "--timeout", "5x", "true"], 2, "5x"),
        (["submit", "-d", "gone.py"], 65, "-- python gone.py"),
        (["submit", "-d", "-e", "NOT_SET_HERE", "true"], 2, "not set here"),
        (["--url", "nothing", "ps"], 78, "not a URL"),
        (["ps", "--watch"], 2, "terminal"),
        (["ps", "--filter", "state ="], 1, "filter"),
    ],
)
def test_what_goes_wrong_is_one_line_on_stderr_with_a_code_of_its_own(
    run: Run, words: list[str], code: int, said: str
) -> None:
    done = run(*words)
    assert (done.returncode, done.stdout) == (code, ""), done
    assert done.stderr.startswith("longshore: ") and done.stderr.count("\n") == 1 and said in done.stderr


@pytest.mark.parametrize(
    "words", [["ps"], ["ps", "--json"], ["logs", "JOB"], ["logs", "-f", "JOB"], ["show", "JOB"], ["--help"]]
)
def test_output_that_nobody_reads_is_the_end_without_a_word(
    run: Run, running: Job, say: Say, end: Callable[[], None], words: list[str]
) -> None:
    say(0, "step 1")
    end()
    reader, writer = os.pipe()
    os.close(reader)
    try:
        done = run(*(running.id if word == "JOB" else word for word in words), stdout=writer)
    finally:
        os.close(writer)
    assert (done.returncode, done.stderr) == (141, "")


def test_wrong_key_and_no_platform_have_their_codes(run: Run) -> None:
    assert run("ps", LONGSHORE_API_KEY="lsk_wrong").returncode == 77
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound and not listening: connections are refused
        gone = run("ps", LONGSHORE_URL=f"http://127.0.0.1:{taken.getsockname()[1]}")
    assert gone.returncode == 69 and "cannot be reached" in gone.stderr and gone.stdout == ""


def test_longshore_alone_is_its_help(run: Run) -> None:
    alone = run()
    assert (alone.returncode, alone.stderr) == (0, "") and alone.stdout == run("--help").stdout
    assert "submit" in alone.stdout


def test_explain_takes_json_behind_the_job_too(run: Run, running: Job) -> None:
    behind, before = run("explain", running.id, "--json"), run("explain", "--json", running.id)
    assert behind.returncode == 0 and json.loads(behind.stdout) == json.loads(before.stdout)
    assert run("explain", running.id, "--jsonn").returncode == 2


def test_cancel_goes_on_after_jobs_that_cannot_be_and_says_why(
    run: Run, longshore: Longshore, running: Job, end: Callable[[], None]
) -> None:
    end()
    other = longshore.submit(image=IMAGE, pool="default")
    done = run("cancel", running.id, "nosuch", other.id)
    assert done.returncode == 1 and other.wait(10).state == "CANCELLED"
    [cancelled, unknown, ended] = done.stderr.splitlines()
    assert other.id in cancelled and "nosuch" in unknown and ended.startswith("longshore: "), done.stderr


def test_every_command_has_help_of_80_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    whole = CliRunner().invoke(app, ["--help"]).stdout
    for command in COMMANDS:
        assert f"  {command} " in whole
        said = CliRunner().invoke(app, [command, "--help"])
        assert said.exit_code == 0
        assert all(len(line) <= 80 for line in said.stdout.splitlines()), command


def test_completion_is_the_shells_own(run: Run) -> None:
    completed = run(_LONGSHORE_COMPLETE="complete_bash", COMP_WORDS="longshore su", COMP_CWORD="1")
    assert "submit" in completed.stdout, completed
