"""Secret variables in real containers of common shells, and what is asked of the engine for them."""

from __future__ import annotations

import hashlib
import io
import tarfile
import uuid
from collections.abc import Iterator
from typing import Any

import docker
import pytest
from pydantic import SecretStr

from core.errors import CommandNotStarted, ContainerGone
from core.spec import NotebookExecutor, PythonExecutor, ShellExecutor
from tests.lab.images import BARE, BUSYBOX, PYTHON, ensure_busybox
from tests.lab.platform import ENGINE
from tests.worker.test_containers import SETTINGS, work
from worker.containers import container_of, network_of
from worker.docker_engine.steps import DockerSteps
from worker.secret_variables import SHELL, secret_variables_archive, with_secret_variables

VALUES = {
    "TOKEN": "".join(map(chr, range(1, 0x120))) + "☃🦀\n\n'",
    "QUOTES": "'''\\'' \"$(echo no)\" `echo no` !! $HOME \\n",
    "EMPTY_LINES": "\n\n\n",
    "LONG": "x" * 65_536,
}
SHOW = "for n in TOKEN QUOTES EMPTY_LINES LONG; do eval 'printf %s \"$'$n'\"' | sha256sum | cut -c1-64; done"


@pytest.fixture(scope="module")
def engine() -> Iterator[Any]:
    ensure_busybox()
    opened: Any = docker.DockerClient(base_url=ENGINE)
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def steps() -> DockerSteps:
    return DockerSteps(ENGINE, timeout_seconds=30)


@pytest.fixture
def container(engine: Any) -> Iterator[Any]:
    """Makes a container that is created and not started; all are removed."""
    made: list[Any] = []

    def make(image: str, command: list[str], **options: Any) -> Any:
        entrypoint, arguments = with_secret_variables(command)
        made.append(
            engine.containers.create(
                image,
                list(arguments),
                entrypoint=list(entrypoint),
                init=True,
                network_mode="none",
                name=f"longshore-test-{uuid.uuid4().hex}",
                **options,
            )
        )
        return made[-1]

    yield make
    for each in made:
        each.remove(force=True)


def archive(**values: str) -> bytes:
    return secret_variables_archive({name: SecretStr(value) for name, value in values.items()})


@pytest.mark.parametrize("image", [BUSYBOX, PYTHON])
@pytest.mark.parametrize("user", ["", "12345:12345"])
def test_values_of_any_characters_arrive_whole(steps: DockerSteps, container: Any, image: str, user: str) -> None:
    made = container(image, ["/bin/sh", "-c", SHOW], user=user)
    steps.unpack(made.id, archive(**VALUES))
    steps.start(made.id)
    assert made.wait()["StatusCode"] == 0
    said = made.logs().decode().split()
    assert said == [hashlib.sha256(value.encode()).hexdigest() for value in VALUES.values()]


def test_values_given_again_to_a_container_that_was_not_started_are_the_last(
    steps: DockerSteps, container: Any
) -> None:
    made = container(BUSYBOX, ["sh", "-c", "echo $A $B; ls -A /.longshore"])
    steps.unpack(made.id, archive(A="old", B="old"))
    steps.unpack(made.id, archive(A="new"))
    steps.start(made.id)
    assert made.wait()["StatusCode"] == 0
    assert made.logs() == b"new\n"
    with pytest.raises(docker.errors.NotFound):
        made.get_archive("/.longshore/environment")


def test_program_does_not_run_where_the_values_are_not_there(steps: DockerSteps, container: Any) -> None:
    made = container(BUSYBOX, ["echo", "ran"])
    steps.start(made.id)
    assert made.wait()["StatusCode"] == 125
    assert made.logs() == b"the secret variables are not in the container\n"


def test_program_runs_with_the_images_own_variables_untouched(steps: DockerSteps, container: Any) -> None:
    made = container(BUSYBOX, ["env"], environment={"f": "1", "_x": "2", "PATH": "/bin:/nowhere"})
    steps.unpack(made.id, archive(A="a"))
    steps.start(made.id)
    assert made.wait()["StatusCode"] == 0
    found = dict(line.split("=", 1) for line in made.logs().decode().splitlines())
    assert {name: found[name] for name in ("f", "_x", "PATH", "A")} == {
        "f": "1",
        "_x": "2",
        "PATH": "/bin:/nowhere",
        "A": "a",
    }


def test_path_is_looked_for_in_the_container(steps: DockerSteps, container: Any, engine: Any) -> None:
    made = container(BUSYBOX, ["true"])
    assert steps.has_path(made.id, SHELL)
    assert not steps.has_path(made.id, "/bin/nosuch")
    bare = container(BARE, ["true"])
    assert not steps.has_path(bare.id, SHELL)
    with pytest.raises(ContainerGone):
        steps.unpack("longshore-test-nosuch", archive(A="a"))


def test_find_of_an_image_gives_what_it_runs_and_only_by_its_name(steps: DockerSteps, engine: Any) -> None:
    found = steps.find_image(PYTHON)
    assert found is not None
    assert found.command == ("python3",)
    digits = found.image_id.partition(":")[2]
    assert steps.find_image(digits[:12]) is None
    assert steps.find_image(found.image_id) == found


@pytest.mark.parametrize(
    "executor",
    [
        None,
        ShellExecutor("a 'b'"),
        PythonExecutor("MODULE", "m", ("x y",)),
        NotebookExecutor("n.ipynb", {"a": 1}),
    ],
)
def test_container_with_secrets_runs_the_same_behind_the_shell(executor: Any) -> None:
    own = ("own", "command")
    plain = work(1, executor=executor)
    named = work(1, executor=executor, secret_env_vars={"TOKEN": "secret-id"})
    network = network_of(plain, SETTINGS)
    without = container_of(plain, 0, "sha256:1", network, SETTINGS, own_command=own)
    behind = container_of(named, 0, "sha256:1", network, SETTINGS, own_command=own)
    whole = own if without.entrypoint is None else (*without.entrypoint, *without.command)
    assert behind.entrypoint == (SHELL, "-c")
    assert behind.command[2:] == whole
    assert behind.environment == without.environment
    assert "secret-id" not in repr(behind)


def test_container_with_secrets_of_an_image_without_a_command_is_refused() -> None:
    of = work(1, secret_env_vars={"TOKEN": "s"})
    with pytest.raises(CommandNotStarted, match="No command specified"):
        container_of(of, 0, "sha256:1", network_of(of, SETTINGS), SETTINGS)


def test_archive_shows_nothing_in_its_names() -> None:
    with tarfile.open(fileobj=io.BytesIO(archive(A="canary"))) as tar:
        members = [(member.name, oct(member.mode), member.uid) for member in tar]
    assert members == [(".longshore", "0o777", 0), (".longshore/environment", "0o666", 0)]
