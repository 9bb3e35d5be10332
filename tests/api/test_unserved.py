"""Calls that are in the contract and not served yet: 501 to whoever may ask, and nothing said to anyone else."""

from __future__ import annotations

import httpx
import pytest

from tests.api.conftest import ACCOUNT, Served

CALLS = [
    ("POST", "/environments"),
    ("GET", "/environments"),
    ("GET", "/environments/e"),
    ("PATCH", "/environments/e"),
    ("DELETE", "/environments/e"),
    ("POST", "/environments/e:connect"),
    ("POST", "/environments/e:disconnect"),
    ("POST", "/environments:batchDelete"),
    ("POST", "/snapshots"),
    ("GET", "/snapshots"),
    ("GET", "/snapshots/s"),
    ("DELETE", "/snapshots/s"),
]


@pytest.mark.parametrize(("method", "path"), CALLS)
def test_call_that_is_not_served_answers_501(
    served: Served, user: httpx.Client, stranger: httpx.Client, method: str, path: str
) -> None:
    answer = user.request(method, path)
    assert (answer.status_code, answer.json()["code"]) == (501, 12)
    assert answer.json()["message"] == f"{path.strip('/').split('/')[0].split(':')[0]} are not served yet"
    assert stranger.request(method, path).status_code == 404
    assert httpx.request(method, f"{served.url}/v1/accounts/{ACCOUNT}{path}").status_code == 401
