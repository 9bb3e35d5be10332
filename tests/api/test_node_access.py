"""Who may read, make, change and drain a node."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator

import httpx
import pytest
from sqlalchemy import update

from core.database import Database
from core.models import Account
from tests.api.conftest import ACCOUNT
from tests.lab.platform import wait_until

pytestmark = pytest.mark.usefixtures("may_own_nodes")


CALLS = [
    ("POST", "", {"node": {"endpoint": "unix:///never"}, "nodeId": "never"}),
    ("PATCH", "/{id}", {"slots": 1}),
    ("DELETE", "/{id}", None),
    ("GET", "", None),
    ("GET", "/{id}", None),
    ("POST", "/{id}:drain", {}),
    ("POST", "/{id}:undrain", {}),
]


@pytest.mark.parametrize(("method", "path", "body"), CALLS)
def test_nodes_are_for_account_admins(
    admin: httpx.Client, user: httpx.Client, make_node: Callable[..., str], method: str, path: str, body: object
) -> None:
    node = make_node()
    before = admin.get(node).json()
    nodes, node_id = node.rsplit("/", 1)
    answer = user.request(method, nodes + path.format(id=node_id), json=body)
    assert (answer.status_code, answer.json()["code"]) == (403, 7)
    assert admin.get(node).json() == before


@pytest.mark.parametrize(("method", "path", "body"), CALLS)
def test_node_of_another_account_answers_as_one_of_a_pool_that_does_not_exist(
    admin: httpx.Client,
    stranger: httpx.Client,
    make_node: Callable[..., str],
    method: str,
    path: str,
    body: object,
) -> None:
    node = make_node()
    nodes, node_id = node.rsplit("/", 1)
    pool = nodes.split("/")[2]
    theirs = stranger.request(method, nodes + path.format(id=node_id), json=body)
    nobodys = stranger.request(method, "/nodePools/unknown/nodes" + path.format(id=node_id), json=body)
    assert theirs.status_code == nobodys.status_code == 404
    assert theirs.json() == json.loads(nobodys.text.replace("unknown", pool))
    assert admin.get(node).json()["state"] == "DOWN"


@pytest.fixture
def restricted(database: Database, admin: httpx.Client) -> Iterator[None]:
    """The account may not own nodes for a while. What a process knows of a key it knows for half a second."""

    def allow(allowed: bool) -> None:
        with database.transaction() as connection:
            connection.execute(update(Account).where(Account.id == ACCOUNT).values(may_own_nodes=allowed))
        status = 404 if allowed else 403
        unknown = "/nodePools/unknown/nodes/x"
        wait_until(lambda: admin.delete(unknown).status_code == status, 5, f"the account's right is {allowed}")

    allow(False)
    yield
    allow(True)


@pytest.mark.parametrize(("method", "path", "body"), CALLS)
def test_node_of_an_account_that_may_own_none_is_read_and_drained_but_not_made_or_changed(
    make_node: Callable[..., str],
    admin: httpx.Client,
    request: pytest.FixtureRequest,
    method: str,
    path: str,
    body: object,
) -> None:
    nodes, node_id = make_node().rsplit("/", 1)
    request.getfixturevalue("restricted")
    answer = admin.request(method, nodes + path.format(id=node_id), json=body)
    if method == "GET" or ":" in path:
        assert answer.status_code == 200, answer.text
    else:
        assert (answer.status_code, answer.json()["code"]) == (403, 7)
        assert "may not own nodes" in answer.json()["message"]
