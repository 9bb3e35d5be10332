"""The page of an executed notebook: readable, and harmless whatever the notebook holds."""

from __future__ import annotations

import json
import re
import zlib
from collections.abc import Callable
from html.parser import HTMLParser
from typing import Any

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import insert, select

from api.notebook_page import MAX_BYTES, PAGE_HEADERS, notebook_page
from core.database import Database
from core.errors import FailedPrecondition
from core.models import Job, Notebook
from tests.api.conftest import ACCOUNT
from tests.lab.notebooks import notebook

Json = dict[str, Any]


def _page(*cells: Json) -> str:
    whole = {"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": list(cells)}
    return notebook_page(json.dumps(whole).encode(), "a <title>").decode()


def _code(source: str = "", *outputs: Json, **metadata: Any) -> Json:
    return {
        "cell_type": "code",
        "metadata": metadata,
        "execution_count": 1,
        "source": source,
        "outputs": list(outputs),
    }


def _shown(kind: str, data: str) -> Json:
    return {"output_type": "display_data", "metadata": {}, "data": {kind: data}}


def _markdown(source: str) -> Json:
    return {"cell_type": "markdown", "metadata": {}, "source": source}


def test_page_shows_code_text_tables_pictures_and_what_became_of_each_cell() -> None:
    page = _page(
        _markdown("# Head\n\n`a < b`"),
        _code(
            "x = 1",
            {"output_type": "stream", "name": "stdout", "text": "\x1b[31mred\x1b[0m <b>"},
            _shown("text/html", "<table><tr><td style='text-align: right'>7</td></tr></table>"),
            _shown("image/png", "iVBORw0KGgo="),
            papermill={"status": "completed", "duration": 1.25},
        ),
        _code("1 / 0", {"output_type": "error", "ename": "E", "evalue": "no", "traceback": ["E: no"]},
              papermill={"status": "failed", "duration": 0.1}),
        _code("x", papermill={"status": "pending"}),
    )  # fmt: skip
    assert "<h1" in page and "a &lt; b" in page
    assert '<span class="ansi-red-fg">red</span> &lt;b&gt;' in page
    assert '<td style="text-align:right">7</td>' in page
    assert 'src="data:image/png;base64,iVBORw0KGgo="' in page
    assert re.findall(r'class="ran ran-\w+">([^<]*)<', page) == ["completed · 1.2 s", "failed · 0.1 s", "pending"]
    assert "<title>a &lt;title&gt;</title>" in page


HOSTILE = (
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "<img src='https://elsewhere.test/x.png'>",
    "<a href='javascript:alert(1)'>a</a>",
    "<a href='data:text/html,<script>alert(1)</script>'>a</a>",
    "<iframe src='https://elsewhere.test'></iframe>",
    "<object data='x'></object><embed src='x'>",
    "<form action='https://elsewhere.test'><input name=a></form>",
    "<svg onload='alert(1)'><script>alert(1)</script></svg>",
    "<style>@import 'https://elsewhere.test/x.css'; body { background: url(https://elsewhere.test) }</style>",
    "<p style='background: url(https://elsewhere.test); position: fixed'>a</p>",
    "<link rel=stylesheet href='https://elsewhere.test/x.css'><meta http-equiv=refresh content='0;url=x'>",
    "<base href='https://elsewhere.test/'><math><mtext><script>alert(1)</script></mtext></math>",
    "</div></body><script>alert(1)</script>",
)


HARMLESS = {"a", "code", "div", "img", "p", "pre", "span"}


class _Elements(HTMLParser):
    """The elements of a page, as a browser reads them."""

    def __init__(self) -> None:
        super().__init__()
        self.elements: list[tuple[str, list[tuple[str, str | None]]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, attrs))


@pytest.mark.parametrize("hostile", HOSTILE)
def test_page_of_hostile_content_runs_and_fetches_nothing(hostile: str) -> None:
    error = {"output_type": "error", "ename": hostile, "evalue": hostile, "traceback": [hostile]}
    papermill = {"status": hostile, "duration": hostile}
    page = _page(
        _markdown(hostile),
        _code(hostile, _shown("text/html", hostile), {"output_type": "stream", "name": "stdout", "text": hostile}),
        _code("x", _shown("text/markdown", hostile), error, papermill=papermill),
        _code("x", _shown("application/javascript", hostile), _shown("image/svg+xml", hostile)),
        {"cell_type": "raw", "metadata": {"raw_mimetype": "text/html"}, "source": hostile},
    )
    seen = _Elements()
    seen.feed(page.partition("<body>")[2])
    for tag, attributes in seen.elements:
        assert tag in HARMLESS, tag
        for name, value in attributes:
            assert name in ("class", "id", "style", "title", "src", "href", "alt", "rel"), (tag, name)
            assert name != "src" or (value or "").startswith("data:image/"), value
            assert name != "href" or re.match(r"https?:|#", value or ""), value
            assert name != "style" or not re.search(r"url|position", value or ""), value
    assert page.count("<body>") == page.count("</body>") == 1


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
_FIELDS = st.sampled_from(["cell_type", "source", "outputs", "metadata", "execution_count", "attachments", "id"])
_CELL = st.fixed_dictionaries({"cell_type": st.sampled_from(["code", "markdown", "raw", "x"])}) | st.dictionaries(
    _FIELDS, _JSON
)


@settings(max_examples=150, deadline=None)
@given(st.lists(_CELL | _JSON, max_size=3) | _JSON, _JSON)
def test_page_of_anything_is_a_page_or_a_sentence(cells: Any, metadata: Any) -> None:
    whole = {"nbformat": 4, "nbformat_minor": 5, "metadata": metadata, "cells": cells}
    try:
        assert notebook_page(json.dumps(whole).encode(), "x").endswith(b"</html>")
    except FailedPrecondition as error:
        assert "get it as ipynb" in str(error)


def test_page_of_what_is_too_large_or_no_notebook_is_refused() -> None:
    for content in (b"x", b"[]", b"{}", b" " * (MAX_BYTES + 1)):
        with pytest.raises(FailedPrecondition, match="get it as ipynb"):
            notebook_page(content, "x")


def test_notebook_is_answered_as_a_page_that_a_browser_lets_do_nothing(
    admin: httpx.Client, database: Database, create: Callable[..., str]
) -> None:
    job = create()
    with database.transaction() as connection:
        key = connection.execute(select(Job.id).where(Job.batch_job_id == job)).scalar_one()
        content = zlib.compress(notebook("print(1)").encode())
        connection.execute(
            insert(Notebook).values(job_id=key, attempt=1, rank=0, account_id=ACCOUNT, content=content)
        )
    answer = admin.get(f"/batchJobs/{job}/ranks/0/notebook", params={"format": "html"})
    assert answer.status_code == 200 and answer.headers["content-type"] == "text/html; charset=utf-8"
    assert {name: answer.headers[name] for name in PAGE_HEADERS} == PAGE_HEADERS
    policy = answer.headers["content-security-policy"]
    assert policy.startswith("sandbox; default-src 'none'") and "script" not in policy
    assert answer.text.startswith("<!doctype html>")
    assert admin.get(f"/batchJobs/{job}/ranks/0/notebook").json()["nbformat"] == 4
