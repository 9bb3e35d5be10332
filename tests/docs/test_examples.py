"""The examples on every page do what the page says, in the order of the page, on a real platform."""

from __future__ import annotations

import ast
import asyncio
import inspect
import json
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import jsonschema_rs
import pytest

from deploy.secret_keys import ensure_keys
from tests.docs.pages import PAGES, Block, blocks
from tests.docs.workshop import Failed, Shell, make_workshop
from tests.lab.api_client import ApiClient
from tests.lab.platform import Platform
from tests.lab.servers import Servers

Json = dict[str, Any]
#: What a part of a job is put into before it is asked about.
_A_JOB: Json = {"nodePoolId": "default", "imageRef": "longshore/python:3"}
_PICTURES = "mermaid"


@pytest.fixture(scope="module")
def platform(servers: Servers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    """With secrets, and listings that nobody has to wait for."""
    folder = tmp_path_factory.mktemp("platform")
    ensure_keys(folder / "secret-keys")
    started = Platform(servers, folder, secret_keys_file=folder / "secret-keys", listing_seconds=1)
    yield started
    started.stop()


@pytest.fixture(scope="module")
def operator(platform: Platform) -> ApiClient:
    return platform.new_account("operator", "operator@localhost", is_operator=True)


@pytest.fixture
def workshop(platform: Platform, operator: ApiClient, tmp_path: Path) -> Path:
    folder = tmp_path / "longshore"
    folder.mkdir()
    make_workshop(folder, platform, operator.http.headers["Authorization"].removeprefix("Bearer "))
    return folder


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_block_is_run_or_says_why_not(page: Path) -> None:
    unmarked = [
        block.place
        for before, block in zip((None, *blocks(page)), blocks(page), strict=False)
        if not block.not_run and not _is_tried(block, before)
    ]
    assert unmarked == [], "tests/docs/pages.py says how a block is marked"


def _is_tried(block: Block, before: Block | None) -> bool:
    if block.kind == "text":
        return before is not None and before.kind == "sh" and not before.not_run
    return block.kind in (*_TRIALS, _PICTURES) and (block.kind != "json" or bool(block.name))


@pytest.mark.parametrize(
    "page", [page for page in PAGES if any(not b.not_run for b in blocks(page))], ids=lambda p: p.name
)
def test_examples_do_what_the_page_says(
    page: Path, platform: Platform, workshop: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shell = Shell(workshop, tmp_path)
    reader = Reader(shell, platform, workshop, monkeypatch)
    try:
        for block in blocks(page):
            if block.not_run or block.kind == _PICTURES:
                continue
            try:
                _TRIALS[block.kind](reader, block)
            except Exception as error:
                raise AssertionError(f"{block.place}: {error}\n{block.text}") from error
    finally:
        shell.end()


class Reader:
    """Somebody who tries what is on a page, block by block."""

    def __init__(self, shell: Shell, platform: Platform, workshop: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self._shell = shell
        self._client = platform.client
        self._url = platform.url
        self._printed = ""
        self._names: Json = {"__name__": "__main__"}
        self._monkeypatch = monkeypatch
        self._workshop = workshop

    def sh(self, block: Block) -> None:
        self._printed = self._shell.run(block.text)

    def text(self, block: Block) -> None:
        wanted = ".*".join(map(re.escape, _bare(block.text).split("…")))
        if re.fullmatch(wanted, _bare(self._printed), re.DOTALL) is None:
            raise Failed(f"the block before it printed\n{self._printed}")

    def python(self, block: Block) -> None:
        """Executed with what earlier blocks of the page have made; `await` may stand outside of functions."""
        for name in ("LONGSHORE_URL", "LONGSHORE_ACCOUNT", "LONGSHORE_API_KEY"):
            self._monkeypatch.setenv(name, self._shell.run(f". .longshore/env; printf %s ${name}"))
        self._monkeypatch.chdir(self._workshop)
        made = compile(block.text, block.place, "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
        if made.co_flags & inspect.CO_COROUTINE:
            asyncio.run(eval(made, self._names))
        else:
            exec(made, self._names)

    def json(self, block: Block) -> None:
        given = json.loads(block.text)
        if block.name == "job":
            part = {"shellExecutor": {"command": "true"}} if not any("Executor" in name for name in given) else {}
            self._ask("POST", "/batchJobs", params={"validateOnly": "true"}, json={**_A_JOB, **part, **given})
            return
        document = httpx.get(f"{self._url}/openapi.json").json()
        schema = {"$ref": f"#/components/schemas/{block.name}", "components": document["components"]}
        jsonschema_rs.validate(schema, given)

    def filter(self, block: Block) -> None:
        for line in block.text.splitlines():
            self._ask("GET", "/batchJobs", params={"filter": line.partition("  #")[0]})

    def _ask(self, method: str, path: str, **given: Any) -> None:
        answer = self._client.http.request(method, path, **given)
        if not answer.is_success:
            raise Failed(answer.text)


_TRIALS: dict[str, Callable[[Reader, Block], None]] = {
    "sh": Reader.sh,
    "text": Reader.text,
    "python": Reader.python,
    "json": Reader.json,
    "filter": Reader.filter,
}


def _bare(text: str) -> str:
    """Without what cannot be seen at the ends of lines."""
    return "\n".join(line.rstrip() for line in text.strip().splitlines())


def test_reader_refuses_what_is_not_as_the_page_says(
    platform: Platform, workshop: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = tmp_path / "page.md"
    shell = Shell(workshop, tmp_path)
    reader = Reader(shell, platform, workshop, monkeypatch)
    try:
        reader.sh(Block(page, 1, "sh", "", "a=1\necho one; echo two $a"))
        reader.text(Block(page, 1, "text", "", "one\n…1\n"))
        for kind, name, text in (
            ("text", "", "one\ntwo\n"),
            ("python", "", "assert 1 > 2"),
            ("json", "job", '{"numRank": 3}'),
            ("json", "LogEntryRead", '{"rank": "one"}'),
            ("filter", "", "state = RUNNING\nstate ="),
            (
                "sh",
                "",
                f". .longshore/env; curl -s $LONGSHORE_URL/v1/accounts/$LONGSHORE_ACCOUNT/{os.urandom(3).hex()}",
            ),
        ):
            with pytest.raises(Exception):  # noqa: B017
                _TRIALS[kind](reader, Block(page, 1, kind, name, text))
    finally:
        shell.end()
