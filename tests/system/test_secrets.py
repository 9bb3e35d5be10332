"""Secret variables from the API to the program, and every place on the way where they must not be seen."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import secrets
import tarfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import docker
import pytest
import redis

from core.sealing import SealingKeys, new_key_line
from deploy.secret_keys import add_key, ensure_keys, rotate
from tests.lab.api_client import ApiClient
from tests.lab.images import BARE, BUSYBOX, NOTEBOOK, PYTHON, ensure_busybox
from tests.lab.platform import COMMANDS, ENGINE, Platform
from tests.lab.servers import Servers

#: The notebook image run by a user that it does not know, with a program of its own.
PLAIN_USER = "longshore-test/plainuser:1"
SHOW = "import hashlib, os, sys\nprint(hashlib.sha256(os.environb[b'TOKEN']).hexdigest(), *sys.argv[1:])\n"
NOTEBOOK_TEXT = json.dumps(
    {
        "cells": [
            {
                "cell_type": "code",
                "id": "c1",
                "execution_count": None,
                "metadata": {},
                "outputs": [],
                "source": "import hashlib, os\nprint(hashlib.sha256(os.environb[b'TOKEN']).hexdigest())",
            }
        ],
        "metadata": {},
        "nbformat": 4,
        "nbformat_minor": 5,
    }
)
SHOW_BY_SHELL = 'printf %s "$TOKEN" | sha256sum | cut -d" " -f1'


@pytest.fixture(scope="module")
def platform(servers: Servers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    ensure_busybox()
    folder = tmp_path_factory.mktemp("secrets")
    ensure_keys(folder / "secret-keys")
    started = Platform(servers, folder, secret_keys_file=folder / "secret-keys", listing_seconds=1)
    yield started
    started.stop()


@pytest.fixture(scope="module")
def client(platform: Platform) -> ApiClient:
    return platform.client


@pytest.fixture
def keys(platform: Platform) -> Iterator[Path]:
    """The file of keys, put back after the test."""
    path = platform.folder / "secret-keys"
    before = path.read_text()
    yield path
    path.write_text(before)


@pytest.fixture(scope="module")
def plain_user_image() -> str:
    files = {
        "Dockerfile": f"FROM {NOTEBOOK}\nCOPY show.py show.ipynb /app/\nWORKDIR /app\nENV HOME=/tmp\n"
        'USER 12345:12345\nENTRYPOINT ["python3", "show.py"]\nCMD ["by", "itself"]\n',
        "show.py": SHOW,
        "show.ipynb": NOTEBOOK_TEXT,
    }
    context = io.BytesIO()
    with tarfile.open(fileobj=context, mode="w") as tar:
        for name, text in files.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(text), 0o644
            tar.addfile(entry, io.BytesIO(text.encode()))
    context.seek(0)
    engine: Any = docker.DockerClient(base_url=ENGINE)
    try:
        engine.images.build(fileobj=context, custom_context=True, tag=PLAIN_USER, rm=True, forcerm=True)
    finally:
        engine.close()
    return PLAIN_USER


def keep(client: ApiClient, value: str) -> str:
    """A new secret; its id."""
    made = client.http.post("/secrets", params={"secretId": f"s-{secrets.token_hex(6)}"}, json=body(value))
    assert made.status_code == 200, made.text
    name: str = made.json()["name"]
    return name.rpartition("/")[2]


def body(value: str) -> dict[str, str]:
    return {"keyName": "TOKEN", "value": value}


def digest(value: str) -> str:
    return hashlib.sha256(value.encode()).hexdigest()


@pytest.mark.parametrize(
    ("image", "executor", "line"),
    [
        (BUSYBOX, {"shellExecutor": {"command": SHOW_BY_SHELL}}, "{}"),
        (PYTHON, {"shellExecutor": {"command": SHOW_BY_SHELL}}, "{}"),
        (PLAIN_USER, {"shellExecutor": {"command": SHOW_BY_SHELL}}, "{}"),
        (
            PLAIN_USER,
            {"pythonExecutor": {"targetType": "FILENAME", "target": "show.py", "args": ["a b", "$c"]}},
            "{} a b $c",
        ),
        (PLAIN_USER, {"pythonExecutor": {"targetType": "MODULE", "target": "show"}}, "{}"),
        (PLAIN_USER, {"notebookExecutor": {"notebookFilename": "show.ipynb"}}, "{}"),
        (
            PLAIN_USER,
            {
                "files": {"own/show.py": SHOW},
                "pythonExecutor": {"targetType": "FILENAME", "target": "own/show.py", "args": ["too"]},
            },
            "{} too",
        ),
        (PLAIN_USER, {}, "{} by itself"),
    ],
)
def test_variable_arrives_whole_with_every_executor(
    client: ApiClient, plain_user_image: str, image: str, executor: dict[str, Any], line: str
) -> None:
    value = f"{secrets.token_hex(8)} 'a' \"b\" \\n $(x) `y` ☃ {''.join(map(chr, range(1, 0x100)))}'\n"
    job = client.create(imageRef=image, secretEnvVars={"TOKEN": keep(client, value)}, **executor)
    done = client.wait_end(job["id"], 120)
    assert done["state"] == "COMPLETED", done["status"]
    assert line.format(digest(value)) in client.lines(job["id"])


def test_variable_takes_the_place_of_the_images_own_even_where_it_is_the_path(client: ApiClient) -> None:
    command = "echo $PATH; ls -A /.longshore; [ ! -e /.longshore/environment ] && echo gone"
    job = client.shell(command, image=PYTHON, secretEnvVars={"PATH": keep(client, "/nowhere:/bin:/usr/bin")})
    assert client.wait_end(job["id"])["state"] == "COMPLETED"
    assert client.lines(job["id"]) == ["/nowhere:/bin:/usr/bin", "gone"]


def test_program_gets_its_signals_and_gives_its_exit_code(client: ApiClient) -> None:
    secret = {"TOKEN": keep(client, "v")}
    job = client.shell("exit 7", image=BUSYBOX, secretEnvVars=secret)
    assert "exit code 7" in client.wait_end(job["id"])["status"]
    job = client.shell(
        "trap 'echo told; exit 0' TERM; echo up; while :; do sleep 0.1; done", image=BUSYBOX, secretEnvVars=secret
    )
    client.wait_for(job["id"], lambda _: client.lines(job["id"]) == ["up"])
    client.cancel(job["id"])
    client.wait_end(job["id"], 20)
    assert client.lines(job["id"]) == ["up", "told"]


def test_program_that_is_not_there_is_named_as_without_secrets(client: ApiClient) -> None:
    secret = {"TOKEN": keep(client, "v")}
    job = client.shell("true", image=BARE, secretEnvVars=secret)
    done = client.wait_end(job["id"])
    assert (done["state"], done["reason"]) == ("FAILED", "COMMAND_NOT_STARTED")
    assert "the image has no /bin/sh, which sets secretEnvVars" in done["status"]
    job = client.create(imageRef=BUSYBOX, secretEnvVars=secret)
    assert "No command specified" in client.wait_end(job["id"])["status"]


def test_gang_of_ranks_has_it_in_every_rank(client: ApiClient) -> None:
    value = "x" * 65_536
    names = {f"TOKEN{i}": keep(client, value) for i in range(2)} | {"TOKEN": keep(client, value)}
    job = client.shell(SHOW_BY_SHELL, image=BUSYBOX, ranks=3, secretEnvVars=names)
    assert client.wait_end(job["id"])["state"] == "COMPLETED"
    assert client.lines(job["id"]) == [digest(value)] * 3


def test_value_is_the_one_of_the_launch_and_a_removed_secret_is_a_reason(client: ApiClient) -> None:
    secret = keep(client, "old")
    blocker = client.shell("sleep 60", image=BUSYBOX, ranks=8, stopGracePeriod="1s")
    first = client.shell(SHOW_BY_SHELL, image=BUSYBOX, secretEnvVars={"TOKEN": secret})
    removed = keep(client, "v")
    second = client.shell("true", image=BUSYBOX, secretEnvVars={"TOKEN": removed})
    third = client.shell("true", image=BUSYBOX, imagePullSecret=removed)
    assert client.http.patch(f"/secrets/{secret}", json={"value": "new"}).status_code == 200
    assert client.http.delete(f"/secrets/{removed}").status_code == 200
    client.cancel(blocker["id"])
    assert client.wait_end(first["id"])["state"] == "COMPLETED"
    assert client.lines(first["id"]) == [digest("new")]
    for job, field in ((second, "secretEnvVars"), (third, "imagePullSecret")):
        done = client.wait_end(job["id"])
        assert (done["state"], done["reason"]) == ("FAILED", "SECRET_NOT_FOUND")
        assert f"{field}: there is no secret accounts/acme/secrets/{removed} any more" in done["status"]


@pytest.mark.parametrize(
    "text", [new_key_line("another"), "", "no keys", None], ids=["another", "empty", "wrong", "none"]
)
def test_keys_that_do_not_open_it_are_a_reason(client: ApiClient, keys: Path, text: str | None) -> None:
    canary = secrets.token_hex(16)
    secret = keep(client, canary)
    if text is None:
        keys.unlink()
    else:
        keys.write_text(text)
    job = client.shell("true", image=BUSYBOX, ranks=2, secretEnvVars={"TOKEN": secret})
    pull = client.shell("true", image="127.0.0.1:1/no/such:1", imagePullSecret=secret)
    for each in (job, pull):
        done = client.wait_end(each["id"])
        assert (done["state"], done["reason"]) == ("FAILED", "SECRET_UNREADABLE")
        assert canary not in json.dumps(done)
    healthy = client.shell("true", image=BUSYBOX)
    assert client.wait_end(healthy["id"])["state"] == "COMPLETED"


def test_value_moved_to_another_row_does_not_open(client: ApiClient, platform: Platform) -> None:
    mine, other = keep(client, "mine"), keep(client, "other")
    with platform.database.transaction() as connection:
        connection.exec_driver_sql(
            "UPDATE secrets SET sealed = (SELECT sealed FROM secrets WHERE secret_id = %s) WHERE secret_id = %s",
            (other, mine),
        )
    job = client.shell("true", image=BUSYBOX, secretEnvVars={"TOKEN": mine})
    assert client.wait_end(job["id"])["reason"] == "SECRET_UNREADABLE"


def test_rotation_of_keys_needs_no_restart_and_then_no_old_key(
    client: ApiClient, platform: Platform, keys: Path
) -> None:
    value = secrets.token_hex(8)
    secret = keep(client, value)
    key_id = add_key(keys)
    done = rotate(platform.database, SealingKeys(keys))
    assert done.count >= 1
    assert secret not in " ".join(done.unreadable)
    keys.write_text(keys.read_text().splitlines(keepends=True)[0])
    assert platform.query(f"SELECT sealing_key FROM secrets WHERE secret_id = '{secret}'") == [(key_id,)]
    job = client.shell(SHOW_BY_SHELL, image=BUSYBOX, secretEnvVars={"TOKEN": secret})
    assert client.wait_end(job["id"])["state"] == "COMPLETED"
    assert client.lines(job["id"]) == [digest(value)]
    keys.write_text(keys.read_text() + "# what the fixture puts back opens these too\n")


class Watcher:
    """Everything that an onlooker of this machine could read while jobs run, as text."""

    def __init__(self, platform: Platform) -> None:
        self._platform = platform
        self.seen: dict[str, set[str]] = {"cmdline": set(), "inspect": set(), "messages": set()}
        self._done = threading.Event()
        self._broker: Any = redis.Redis.from_url(
            platform.broker_url.replace("redis+socket", "unix").replace("virtual_host", "db")
        )
        self._monitor = cast("Any", self._broker).monitor()
        self._threads = [threading.Thread(target=each) for each in (self._look, self._listen)]

    def __enter__(self) -> Watcher:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._broker.ping()  # the last message that the listener waits for
        for thread in self._threads:
            thread.join(20)

    def _look(self) -> None:
        while not self._done.wait(0.02):
            for path in Path("/proc").glob("[0-9]*/cmdline"):
                try:
                    self.seen["cmdline"].add(path.read_bytes().decode("utf-8", "replace"))
                except OSError:
                    continue
            for container in self._platform.containers():
                try:
                    found = self._platform.engine.api.inspect_container(container.id)
                except docker.errors.NotFound:
                    continue
                self.seen["inspect"].add(json.dumps(found))

    def _listen(self) -> None:
        with self._monitor as monitor:
            for command in monitor.listen():
                self.seen["messages"].add(str(command["command"]))
                if self._done.is_set():
                    return


def test_value_is_seen_nowhere_on_its_way(client: ApiClient, platform: Platform) -> None:
    canary = secrets.token_hex(16)
    value = f"{canary}-{secrets.token_hex(8)}"
    answers: list[str] = []

    def note(response: Any) -> None:
        response.read()
        answers.append(response.text + str(response.headers))

    client.http.event_hooks["response"] = [note]
    script = (
        f'{SHOW_BY_SHELL}; sleep 1; printf %s "$TOKEN" | grep -rlf - / --exclude-dir=proc --exclude-dir=sys;'
        " ls -A /.longshore; echo looked"
    )
    with Watcher(platform) as watcher:
        secret = keep(client, value)
        pull = keep(client, json.dumps({"username": "u", "password": value}))
        wrong = keep(client, f"not credentials {value}")
        jobs = [
            client.shell(script, image=PYTHON, ranks=2, secretEnvVars={"TOKEN": secret}),
            client.shell("true", image="127.0.0.1:1/no/such:1", imagePullSecret=pull, timeouts={"pull": "3s"}),
            client.shell("true", image="127.0.0.1:1/no/such:1", imagePullSecret=wrong),
        ]
        ended = [client.wait_end(job["id"], 60) for job in jobs]
        client.http.patch(f"/secrets/{secret}", json={"value": value})
        for bad in (
            {**body(value), "value": value * 2000},
            {**body(value), "value": [value]},
            {**body(value), "value": f"{value}\0"},
            {**body(value), "name": "x"},
        ):
            assert client.http.post("/secrets", json=bad).status_code == 400
        client.http.post(
            "/secrets", content=f'{{"value": "{value}", ', headers={"content-type": "application/json"}
        )
        assert client.http.get("/secrets", params={"filter": f'value = "x{secret}"'}).status_code == 400
        for job in jobs:
            for path in ("", "/ranks", "/events"):
                client.http.get(f"/batchJobs/{job['id']}{path}")
        lines = client.lines(jobs[0]["id"])
        client.http.get("/secrets")
    client.http.event_hooks["response"] = []
    assert [job["reason"] for job in ended[1:]] == ["PULL_TIMEOUT", "SECRET_UNFIT"], ended
    assert sorted(lines) == sorted([digest(value), "looked"] * 2)
    assert len(watcher.seen["inspect"]) > 2
    assert any("/bin/sh" in each for each in watcher.seen["cmdline"])
    assert any("LPUSH" in each and "schedule" in each for each in watcher.seen["messages"])
    places = {
        **{name: "\n".join(found) for name, found in watcher.seen.items()},
        "answers": "\n".join(answers),
        "database": "\n".join(dump(platform)),
        "lines": "\n".join(lines),
        **{name: platform.log(name) for name in COMMANDS},
    }
    assert secret in places["database"]
    for name, text in places.items():
        for form in forms(value, canary):
            assert form not in text, f"{form} in {name}"


def forms(value: str, canary: str) -> list[str]:
    """The value as it could show: itself, hex, and base64 whatever comes before it."""
    inner = [base64.b64encode(b"\0" * shift + canary.encode())[4:-4].decode() for shift in range(3)]
    return [canary, canary.encode().hex(), base64.b64encode(value.encode()).decode().rstrip("="), *inner]


def dump(platform: Platform) -> list[str]:
    """Every row of every table as text: binary columns as hex, as base64, and as the characters they may be."""
    rows: list[str] = []
    tables = platform.query("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
    for (table,) in tables:
        binary = platform.query(
            "SELECT column_name FROM information_schema.columns"
            f" WHERE table_name = '{table}' AND data_type = 'bytea'"
        )
        shown = [f"replace(encode({name}, 'base64'), E'\\n', ''), encode({name}, 'escape')" for (name,) in binary]
        rows += [str(row) for row in platform.query(f"SELECT {', '.join(['t::text', *shown])} FROM {table} t")]
    return rows


@pytest.fixture(autouse=True)
def at_rest_after(platform: Platform) -> Iterator[None]:
    yield
    platform.wait_at_rest()
