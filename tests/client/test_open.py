"""`longshore open`: what a browser is given, and that nobody else is given it."""

from __future__ import annotations

import json
import sys
import urllib.error
import urllib.request
import zlib
from pathlib import Path

import pytest
from sqlalchemy import insert

from api.notebook_page import PAGE_HEADERS
from client import Job
from core.database import Database
from core.models import Notebook
from tests.api.conftest import ACCOUNT, Served
from tests.client.conftest import Run
from tests.lab.notebooks import notebook

#: Asks twice, as somebody does who reloads; writes down what it was given.
_BROWSER = """
import json, sys, urllib.error, urllib.request
url, seen = sys.argv[1], []
for each in (url[:-1], url, url):
    try:
        with urllib.request.urlopen(each) as answer:
            seen.append([answer.status, dict(answer.headers), answer.read().decode()])
    except urllib.error.HTTPError as error:
        seen.append([error.code, {}, ""])
    except OSError:
        seen.append([0, {}, ""])
with open("seen", "w") as file:
    json.dump([url, seen], file)
"""


@pytest.fixture
def browser(tmp_path: Path) -> str:
    """What BROWSER names it by."""
    (tmp_path / "browser.py").write_text(_BROWSER)
    return f"{sys.executable} {tmp_path / 'browser.py'} %s"


def test_notebook_is_shown_once_and_may_run_and_fetch_nothing(
    running: Job, database: Database, run: Run, browser: str, tmp_path: Path
) -> None:
    content = zlib.compress(notebook("print('seen by a person')").encode())
    with database.transaction() as connection:
        values = {"job_id": running.id, "attempt": 1, "rank": 1, "account_id": ACCOUNT, "content": content}
        connection.execute(insert(Notebook).values(**values))
    ended = run("open", running.id, "--rank", "1", BROWSER=browser)
    assert ended.returncode == 0, ended.stderr
    assert f"the notebook of {running.id}, rank 1, is in the browser" in ended.stderr
    url, (guess, first, again) = json.loads((tmp_path / "seen").read_text())
    assert url.startswith("http://127.0.0.1:")
    assert (guess[0], first[0]) == (404, 200) and again[0] in (404, 0)
    assert "seen by a person" in first[2]
    assert {name: first[1].get(name) for name in PAGE_HEADERS} == PAGE_HEADERS
    assert first[1]["Cache-Control"] == "no-store"
    with pytest.raises(OSError):
        urllib.request.urlopen(url, timeout=5)


def test_job_without_a_notebook_opens_nothing(running: Job, run: Run, browser: str, tmp_path: Path) -> None:
    ended = run("open", running.id, BROWSER=browser)
    assert ended.returncode == 66 and "notebook" in ended.stderr
    assert not (tmp_path / "seen").exists()


def test_page_of_all_calls_is_opened_without_a_job(served: Served, run: Run, browser: str, tmp_path: Path) -> None:
    ended = run("open", "--json", BROWSER=browser)
    assert ended.returncode == 0 and json.loads(ended.stdout) == {"url": f"{served.url}/docs"}
    url, (_, first, _) = json.loads((tmp_path / "seen").read_text())
    assert url == f"{served.url}/docs" and first[0] == 200


def test_machine_without_a_browser_is_told_where_to_look(served: Served, run: Run) -> None:
    ended = run("open", BROWSER="/nowhere/browser %s", PATH="/nowhere", DISPLAY="")
    assert ended.returncode == 1 and f"no browser here to show {served.url}/docs" in ended.stderr
