"""A served API with two accounts. Requests go over a real socket; nothing of ours is replaced."""

from __future__ import annotations

import itertools
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
import uvicorn
from sqlalchemy import func, select, update

from api.app import create_app
from core.accounts import OPERATOR
from core.database import Database
from core.enrolment import ensure_first_account
from core.event_log import configure_logging
from core.models import Account, Job, User
from core.nodes import ensure_pool
from core.settings import Settings
from tests.lab.platform import wait_until

ACCOUNT, OTHER_ACCOUNT = "acme", "globex"
IMAGE = "registry.example:5000/team/tool:1.2"
ENDPOINT = "unix:///run/engine-{}.sock"
_numbers = itertools.count()


@dataclass(frozen=True)
class Served:
    """The address of a running API, where its objects are, and a key for everyone who may ask."""

    url: str
    object_store_url: str
    admin_key: str
    user_key: str
    stranger_key: str
    operator_key: str


@contextmanager
def serving(settings: Settings) -> Iterator[str]:
    """The base URL of an API that runs until the block is left."""
    configure_logging()
    server = uvicorn.Server(uvicorn.Config(create_app(settings), access_log=False, log_config=None))
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        wait_until(lambda: server.started or not thread.is_alive(), 20, "the API has started", every=0.01)
        assert server.started
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join(20)


@pytest.fixture(scope="module")
def object_store_url(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A store that no other test module sees."""
    return tmp_path_factory.mktemp("objects").as_uri()


@pytest.fixture(scope="module")
def settings(database_url: str, broker_url: str, object_store_url: str) -> Settings:
    # Tests ask faster, and with more wrong keys, than the limits on both would let them.
    return Settings(
        database_url=database_url,
        broker_url=broker_url,
        object_store_url=object_store_url,
        max_ranks=100,
        rate_limit_per_second=0,
        failed_key_limit_per_second=0,
    )


@pytest.fixture(scope="module")
def served(settings: Settings, database: Database) -> Iterator[Served]:
    keys = [
        _user(database, ACCOUNT, "admin@acme.example", "admin"),
        _user(database, ACCOUNT, "user@acme.example", "user"),
        _user(database, OTHER_ACCOUNT, "admin@globex.example", "admin"),
        _user(database, OPERATOR, "root@operator.example", "admin"),
    ]
    ensure_pool(database, account=ACCOUNT)
    ensure_pool(database, account=ACCOUNT, pool="imaged", default_image=IMAGE)
    ensure_pool(database, account=OTHER_ACCOUNT)
    with serving(settings) as url:
        yield Served(url, settings.object_store_url, *keys)


@pytest.fixture(scope="module")
def admin(served: Served) -> Iterator[httpx.Client]:
    with _client(served.url, served.admin_key) as client:
        yield client


@pytest.fixture(scope="module")
def user(served: Served) -> Iterator[httpx.Client]:
    with _client(served.url, served.user_key) as client:
        yield client


@pytest.fixture(scope="module")
def stranger(served: Served) -> Iterator[httpx.Client]:
    """Someone of another account, who asks for the first one's resources."""
    with _client(served.url, served.stranger_key) as client:
        yield client


@pytest.fixture(scope="module")
def operator(served: Served) -> Iterator[httpx.Client]:
    """An admin of the account that runs the platform. Paths begin below `/v1`."""
    with client_of(f"{served.url}/v1", served.operator_key) as client:
        yield client


@pytest.fixture
def create(admin: httpx.Client) -> Callable[..., str]:
    """Makes a job, by default the admin's; its id."""

    def make(client: httpx.Client = admin, **fields: object) -> str:
        body = {"nodePoolId": "default", "imageRef": IMAGE, **fields}
        answer = client.post("/batchJobs", json=body)
        assert answer.status_code == 200, answer.text
        name: str = answer.json()["name"]
        return name.rpartition("/")[2]

    return make


@pytest.fixture
def count_jobs(database: Database) -> Callable[[], int]:
    def count() -> int:
        with database.transaction() as connection:
            return connection.execute(select(func.count()).select_from(Job)).scalar_one()

    return count


def client_of(url: str, key: str) -> httpx.Client:
    """Calls below `url` with the key."""
    return httpx.Client(base_url=url, headers={"Authorization": f"Bearer {key}"}, timeout=30)


def _client(url: str, key: str) -> httpx.Client:
    return client_of(f"{url}/v1/accounts/{ACCOUNT}", key)


def _user(database: Database, account: str, email: str, role: str) -> str:
    key = ensure_first_account(
        database,
        account=account,
        user_email=email,
        key_file_has_key=False,
        is_operator=account == OPERATOR,
        may_own_nodes=account == ACCOUNT,
    )
    assert key is not None
    with database.transaction() as connection:
        connection.execute(update(User).where(User.email == email).values(role=role))
    return key


@pytest.fixture
def make_pool(admin: httpx.Client) -> Callable[..., str]:
    """Makes a pool of the account; its id."""

    def make(client: httpx.Client = admin, /, **fields: Any) -> str:
        pool_id = f"pool-{next(_numbers)}"
        answer = client.post("/nodePools", json={"nodePool": fields, "nodePoolId": pool_id})
        assert answer.status_code == 200, answer.text
        return pool_id

    return make


@pytest.fixture(scope="module")
def may_own_nodes(served: Served, database: Database) -> None:
    with database.transaction() as connection:
        connection.execute(update(Account).where(Account.id == ACCOUNT).values(may_own_nodes=True))


@pytest.fixture
def pool(admin: httpx.Client) -> str:
    pool_id = f"pool-{next(_numbers)}"
    assert admin.post("/nodePools", json={"nodePool": {}, "nodePoolId": pool_id}).status_code == 200
    return pool_id


@pytest.fixture
def make_node(admin: httpx.Client, pool: str) -> Callable[..., str]:
    """Makes a node of the pool; its path."""

    def make(**fields: Any) -> str:
        number = next(_numbers)
        node = {"endpoint": ENDPOINT.format(number), **fields}
        answer = admin.post(f"/nodePools/{pool}/nodes", json={"node": node, "nodeId": f"node-{number}"})
        assert answer.status_code == 200, answer.text
        return f"/nodePools/{pool}/nodes/node-{number}"

    return make
