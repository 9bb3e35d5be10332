"""Who asks and what for, in the permission matrix: people of three accounts, and resources made for each question.

Resources are made over HTTP by those who may, so that what a question is about is what a client would have made.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from enum import Enum
from itertools import count
from typing import Any

import httpx
from sqlalchemy import insert, select, text, update

from core.accounts import OPERATOR as OPERATORS_ACCOUNT
from core.database import Database
from core.models import ApiKey, Job, Notebook
from tests.api.conftest import ACCOUNT, IMAGE, OTHER_ACCOUNT, Served, client_of
from tests.api.left_outputs import leave_outputs

Ids = dict[str, str]
Json = dict[str, Any]


class Who(Enum):
    """The callers. The first five are of the account in the path, or would be."""

    ADMIN = "admin"
    USER = "user"
    NOBODY = "no key"
    REVOKED = "revoked key"
    EXPIRED = "expired key"
    STRANGER = "admin of another account"
    OPERATOR = "admin of the operator"


class Target(Enum):
    """Whose resource is asked for, as the plain user sees it."""

    OWN = "own"
    SHARED = "shared"
    OTHER = "other user's"
    #: of another account, offered to all
    OFFERED = "offered"
    FOREIGN = "other account's"
    RANDOM = "random id"


#: Those that are not there for anyone of the account.
MISSING = frozenset({Target.FOREIGN, Target.RANDOM})
USER_ID, OTHER_USER_ID = "cleo-matrix", "otto-matrix"
#: What every job comes with, and what its rank has left.
FILES = {"a.py": "print(1)"}
LEFT = "model.bin"


@dataclass
class World:
    """The accounts with their people; every `make_…` gives the id of a new resource for a target."""

    served: Served
    database: Database
    clients: dict[Who, httpx.Client] = field(default_factory=dict)
    _stack: ExitStack = field(default_factory=ExitStack)
    _numbers: Any = field(default_factory=count)

    def open(self) -> None:
        """Make the people and the pools that everything else is in."""
        admin = self._enter(Who.ADMIN, self.served.admin_key)
        self._enter(Who.STRANGER, self.served.stranger_key)
        self._enter(Who.OPERATOR, self.served.operator_key)
        for user_id in (USER_ID, OTHER_USER_ID):
            body = {"email": f"{user_id}@acme.example", "role": "user"}
            _ok(admin.post(f"{self.path}/users", params={"userId": user_id}, json=body))
        self._enter(Who.USER, self.new_key(USER_ID)["key"])
        revoked, expired = self.new_key("admin"), self.new_key("admin")
        _ok(admin.delete(f"{self.path}/apiKeys/{revoked['keyId']}"))
        with self.database.transaction() as connection:
            of_key = update(ApiKey).where(ApiKey.id == expired["keyId"])
            connection.execute(of_key.values(expires_at=text("now() - interval '1 second'")))
        self._enter(Who.REVOKED, revoked["key"])
        self._enter(Who.EXPIRED, expired["key"])
        self.clients[Who.NOBODY] = self._stack.enter_context(httpx.Client(base_url=f"{self.served.url}/v1"))

    def close(self) -> None:
        self._stack.close()

    def fresh(self, noun: str) -> str:
        """An id that nobody has."""
        return f"{noun}-{next(self._numbers)}"

    @property
    def path(self) -> str:
        return f"/accounts/{ACCOUNT}"

    def state(self) -> dict[str, str]:
        """A digest of every table. When keys were last used is no change."""
        with self.database.transaction() as connection:
            tables = connection.execute(
                text("SELECT tablename FROM pg_tables WHERE schemaname = 'public' ORDER BY 1")
            ).scalars()
            parts = [
                f"SELECT '{table}', md5(coalesce(string_agg(r, ',' ORDER BY r), ''))"
                f" FROM (SELECT (to_jsonb(t) - 'last_used_at')::text AS r FROM \"{table}\" t) AS rows"
                for table in tables.all()
            ]
            return {row[0]: row[1] for row in connection.execute(text(" UNION ALL ".join(parts)))}

    def new_key(self, user_id: str) -> Json:
        """A key for a user of the account."""
        admin = self.clients[Who.ADMIN]
        return _ok(admin.post(f"{self.path}/apiKeys", json={"user": user_id}))

    def make_account(self, target: Target) -> str:
        """The account itself, another one, or none."""
        if target is Target.FOREIGN:
            account = self.fresh("initech")
            body = {"account": {"email": "a@initech.example"}, "accountId": account}
            _ok(self.clients[Who.OPERATOR].post("/accounts", json=body))
            return account
        return self.fresh("nowhere") if target is Target.RANDOM else ACCOUNT

    def make_user(self, target: Target) -> str:
        """The caller himself, or a new user of his account or another."""
        if target is Target.OWN:
            return USER_ID
        user_id = self.fresh("person")
        if target is not Target.RANDOM:
            body = {"email": f"{user_id}@acme.example", "role": "user"}
            client, path = self._maker(target)
            _ok(client.post(f"{path}/users", params={"userId": user_id}, json=body))
        return user_id

    def make_key(self, target: Target) -> str:
        """A new key of the user, of his admin, or of another account."""
        if target is Target.RANDOM:
            return f"{next(self._numbers):016x}"
        client, path = self._maker(target)
        key_id: str = _ok(client.post(f"{path}/apiKeys", json={}))["keyId"]
        return key_id

    def make_job(self, target: Target) -> str:
        """A new job with a file, an executed notebook and an output."""
        job_id = self.fresh("job")
        if target is Target.RANDOM:
            return job_id
        client, path = self._maker(target)
        body = {"nodePoolId": "default", "imageRef": IMAGE, "shared": target is Target.SHARED}
        _ok(client.post(f"{path}/batchJobs", params={"batchJobId": job_id}, json={**body, "files": FILES}))
        with self.database.transaction() as connection:
            row = connection.execute(
                select(Job.id, Job.attempt, Job.account_id).where(Job.batch_job_id == job_id)
            ).one()
            of_rank = {"job_id": row.id, "attempt": row.attempt, "rank": 0, "account_id": row.account_id}
            connection.execute(insert(Notebook).values(**of_rank, content=zlib.compress(b"{}")))
        leave_outputs(self.database, self.served.object_store_url, row.id, {LEFT: b"1"}, attempt=row.attempt)
        return job_id

    def make_secret(self, target: Target) -> str:
        """A new secret."""
        secret_id = self.fresh("secret")
        if target is not Target.RANDOM:
            client, path = self._maker(target)
            body = {"keyName": "TOKEN", "value": "hush"}
            _ok(client.post(f"{path}/secrets", params={"secretId": secret_id}, json=body))
        return secret_id

    def make_pool(self, target: Target) -> str:
        """A new pool; an offered one is the operator's."""
        pool_id = self.fresh("pool")
        if target is Target.RANDOM:
            return pool_id
        client, path = self.clients[Who.ADMIN], self.path
        if target is Target.FOREIGN:
            client, path = self._maker(target)
        elif target is Target.OFFERED:
            client, path = self.clients[Who.OPERATOR], f"/accounts/{OPERATORS_ACCOUNT}"
        pool = {"dockerNodePool": {}, "offeredToAll": target is Target.OFFERED}
        _ok(client.post(f"{path}/nodePools", json={"nodePool": pool, "nodePoolId": pool_id}))
        return pool_id

    def make_node(self, target: Target, pool_id: str) -> str:
        """A new node in that pool, if it is the account's own."""
        node_id = self.fresh("node")
        if target is Target.OWN:
            body = {"node": {"endpoint": f"tcp://{node_id}.example:2376"}, "nodeId": node_id}
            _ok(self.clients[Who.ADMIN].post(f"{self.path}/nodePools/{pool_id}/nodes", json=body))
        return node_id

    def bind_pool(self, target: Target, pool_id: str) -> str:
        """A principal that is bound to the pool, if there is such a pool in the account or in another."""
        principal = f"{self.fresh('someone')}@acme.example"
        client, path = self._maker(target) if target is Target.FOREIGN else (self.clients[Who.ADMIN], self.path)
        if target in (Target.OWN, Target.FOREIGN):
            _ok(client.post(f"{path}/nodePoolBindings", json={"principal": principal, "nodePoolId": pool_id}))
        return principal

    def bind_role(self, target: Target) -> str:
        """A role that the principal `user@acme.example` may assume in the account or in another."""
        role = self.fresh("role")
        client, path = self._maker(target) if target is Target.FOREIGN else (self.clients[Who.ADMIN], self.path)
        if target is not Target.RANDOM:
            _ok(client.post(f"{path}/awsIamRoleBindings", json={"principal": "user@acme.example", "role": role}))
        return role

    def _maker(self, target: Target) -> tuple[httpx.Client, str]:
        """Who makes a resource for a target, and under which account."""
        if target is Target.FOREIGN:
            return self.clients[Who.STRANGER], f"/accounts/{OTHER_ACCOUNT}"
        return self.clients[Who.USER if target is Target.OWN else Who.ADMIN], self.path

    def _enter(self, who: Who, key: str) -> httpx.Client:
        client = self._stack.enter_context(client_of(f"{self.served.url}/v1", key))
        self.clients[who] = client
        return client


def _ok(answer: httpx.Response) -> Json:
    assert answer.status_code == 200, f"{answer.request.method} {answer.request.url}: {answer.text}"
    found: Json = answer.json()
    return found


Make = Callable[[World, Target, Ids], str]
#: By the name of a path's parameter: how an id for it is made. Those before it in the path are made already.
MAKERS: Mapping[str, Make] = {
    "account_id": lambda world, target, ids: ACCOUNT,
    "user_id": lambda world, target, ids: world.make_user(target),
    "key_id": lambda world, target, ids: world.make_key(target),
    "job_id": lambda world, target, ids: world.make_job(target),
    "rank": lambda world, target, ids: "0",
    "file": lambda world, target, ids: next(iter(FILES)) if target is not Target.RANDOM else world.fresh("file"),
    "output": lambda world, target, ids: LEFT if target is not Target.RANDOM else world.fresh("output"),
    "secret_id": lambda world, target, ids: world.make_secret(target),
    "pool_id": lambda world, target, ids: world.make_pool(target),
    "node_id": lambda world, target, ids: world.make_node(target, ids["pool_id"]),
    "environment_id": lambda world, target, ids: world.fresh("environment"),
    "snapshot_id": lambda world, target, ids: world.fresh("snapshot"),
}
