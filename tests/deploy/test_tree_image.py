"""Trees of the same files make the same image, whenever and in whatever order they were written."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

import docker
import pytest

from deploy.tree_image import load_tree
from tests.lab.platform import ENGINE

NAME = "longshore-test/tree:1"
CONFIG = {"Env": ["COLOUR=blue"], "Cmd": ["/bin/busybox", "cat", "/etc/a", "/etc/b"]}
PACKAGED = 1_700_000_000
FILES = {"etc/a": "a\n", "etc/b": "b\n", "etc/made-here": "c\n"}


@pytest.fixture
def engine() -> Iterator[docker.DockerClient]:
    client = docker.DockerClient(base_url=ENGINE)
    yield client
    client.images.remove(NAME, force=True)
    client.close()


def tree(root: Path, order: Sequence[str]) -> Path:
    for name in order:
        file = root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(FILES[name])
        if name != "etc/made-here":
            os.utime(file, (PACKAGED, PACKAGED))
    (root / "bin").mkdir()
    program = shutil.which("busybox")
    assert program
    shutil.copy2(program, root / "bin/busybox")
    return root


def load(engine: docker.DockerClient, root: Path) -> str:
    load_tree(engine, root, NAME, CONFIG, newest_mtime=PACKAGED)
    return str(engine.images.get(NAME).id)


def test_same_files_make_the_same_image_that_runs(engine: docker.DockerClient, tmp_path: Path) -> None:
    first = load(engine, tree(tmp_path / "one", list(FILES)))
    again = tree(tmp_path / "two", list(reversed(FILES)))
    os.utime(again / "etc/made-here", (PACKAGED + 500, PACKAGED + 500))
    assert load(engine, again) == first
    assert engine.containers.run(NAME, remove=True, network_mode="none") == b"a\nb\n"


@pytest.mark.parametrize("change", ["content", "mode", "time"])
def test_another_file_makes_another_image(engine: docker.DockerClient, tmp_path: Path, change: str) -> None:
    root = tree(tmp_path / "one", list(FILES))
    first = load(engine, root)
    file = root / "etc/a"
    if change == "content":
        file.write_text("other\n")
    elif change == "mode":
        file.chmod(0o600)
    else:
        os.utime(file, (PACKAGED - 1, PACKAGED - 1))
    assert load(engine, root) != first
