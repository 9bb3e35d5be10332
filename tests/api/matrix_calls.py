"""What every route needs, said a second time, and a valid call of it. A route that is not here fails the matrix.

Ids in paths are made by their names (`matrix_world.MAKERS`); here is what a call needs beside them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from api.needs import Need
from tests.api.conftest import IMAGE
from tests.api.matrix_world import OTHER_USER_ID, USER_ID, Ids, Json, Target, World

_JOB = (Target.OWN, Target.SHARED, Target.OTHER, Target.FOREIGN, Target.RANDOM)
_POOL = (Target.OWN, Target.OFFERED, Target.FOREIGN, Target.RANDOM)
_PERSONAL = (Target.OWN, Target.OTHER, Target.FOREIGN, Target.RANDOM)
_ONE = (Target.OWN,)


@dataclass(frozen=True)
class Call:
    """What is agreed that a route needs, and a request of it. `body` may put ids beside those of the path.

    `missing` is the answer where the target is not there, `allowed` to whoever may, where it is not 200.
    """

    need: Need
    targets: tuple[Target, ...] = _ONE
    body: Callable[[World, Target, Ids], Json] | None = None
    allowed: Mapping[Target, int] = field(default_factory=dict)
    missing: int = 404


def _plain(**body: Any) -> Callable[[World, Target, Ids], Json]:
    return lambda world, target, ids: body


def _names(collection: str, make: Callable[[World, Target], str]) -> Callable[[World, Target, Ids], Json]:
    def body(world: World, target: Target, ids: Ids) -> Json:
        ids["named"] = make(world, target)
        return {"names": [f"{world.path.removeprefix('/')}/{collection}/{ids['named']}"]}

    return body


def _new_account(world: World, target: Target, ids: Ids) -> Json:
    return {"account": {"email": "a@initrode.example"}, "accountId": world.fresh("initrode")}


def _new_user(world: World, target: Target, ids: Ids) -> Json:
    return {"email": f"{world.fresh('new')}@acme.example", "role": "user"}


def _key_for(world: World, target: Target, ids: Ids) -> Json:
    return {"user": USER_ID if target is Target.OWN else OTHER_USER_ID}


def _key_of_user(world: World, target: Target, ids: Ids) -> Json:
    there = target in (Target.OWN, Target.OTHER)
    ids["key_id"] = world.new_key(ids["user_id"])["keyId"] if there else world.make_key(target)
    return {"keyId": ids["key_id"]}


def _new_job(world: World, target: Target, ids: Ids) -> Json:
    ids["named"] = world.make_pool(target)
    return {"nodePoolId": ids["named"], "imageRef": IMAGE}


def _new_pool(world: World, target: Target, ids: Ids) -> Json:
    return {"nodePool": {"dockerNodePool": {}}, "nodePoolId": world.fresh("pool")}


def _new_node(world: World, target: Target, ids: Ids) -> Json:
    node = world.fresh("node")
    return {"node": {"endpoint": f"tcp://{node}.example:2376"}, "nodeId": node}


def _new_secret(world: World, target: Target, ids: Ids) -> Json:
    return {"keyName": world.fresh("TOKEN"), "value": "hush"}


def _new_pool_binding(world: World, target: Target, ids: Ids) -> Json:
    ids["named"] = world.make_pool(target)
    return {"principal": "new@acme.example", "nodePoolId": ids["named"]}


def _pool_binding(world: World, target: Target, ids: Ids) -> Json:
    ids["named"] = world.make_pool(target)
    ids["principal"] = world.bind_pool(target, ids["named"])
    return {"principal": ids["principal"], "nodePoolId": ids["named"]}


def _new_role_binding(world: World, target: Target, ids: Ids) -> Json:
    return {"principal": "user@acme.example", "role": world.fresh("role")}


def _role_binding(world: World, target: Target, ids: Ids) -> Json:
    ids["role"] = world.bind_role(target)
    return {"principal": "user@acme.example", "role": ids["role"]}


def _unserved(need: Need) -> Call:
    return Call(need, allowed={Target.OWN: 501})


_A = "/v1/accounts/{account_id}"
_NODES = f"{_A}/nodePools/{{pool_id}}/nodes"

CALLS: Mapping[str, Call] = {
    "POST /v1/accounts": Call(Need.OPERATOR, body=_new_account),
    "GET /v1/accounts": Call(Need.ANYONE),
    f"GET {_A}": Call(Need.READ_OR_OPERATOR, (Target.OWN, Target.FOREIGN, Target.RANDOM)),
    f"PATCH {_A}": Call(Need.ADMIN_OR_OPERATOR, (Target.OWN, Target.FOREIGN, Target.RANDOM), _plain()),
    # The account has jobs: whoever may delete it is told so.
    f"DELETE {_A}": Call(Need.OPERATOR, (Target.OWN, Target.FOREIGN, Target.RANDOM), allowed={Target.OWN: 400}),
    f"POST {_A}/users": Call(Need.ADMIN, body=_new_user),
    f"GET {_A}/users": Call(Need.READ),
    f"GET {_A}/users/{{user_id}}": Call(Need.READ, _PERSONAL),
    f"PATCH {_A}/users/{{user_id}}": Call(Need.OWNER_OR_ADMIN, _PERSONAL, _plain(displayName="Cleo")),
    # Not the caller himself, who is needed for the other calls.
    f"DELETE {_A}/users/{{user_id}}": Call(Need.ADMIN, (Target.OTHER, Target.FOREIGN, Target.RANDOM)),
    f"POST {_A}/users/{{user_id}}/apiKeys": Call(Need.OWNER_OR_ADMIN, _PERSONAL, _plain(apiKey={})),
    f"GET {_A}/users/{{user_id}}/apiKeys": Call(Need.OWNER_OR_ADMIN, _PERSONAL),
    f"POST {_A}/users/{{user_id}}/apiKeys:delete": Call(Need.OWNER_OR_ADMIN, _PERSONAL, _key_of_user),
    f"POST {_A}/apiKeys": Call(Need.OWNER_OR_ADMIN, (Target.OWN, Target.OTHER), _key_for),
    f"GET {_A}/apiKeys": Call(Need.READ),
    f"GET {_A}/apiKeys/{{key_id}}": Call(Need.OWNER_OR_ADMIN_HIDDEN, _PERSONAL),
    f"DELETE {_A}/apiKeys/{{key_id}}": Call(Need.OWNER_OR_ADMIN_HIDDEN, _PERSONAL),
    f"POST {_A}/batchJobs": Call(Need.USER, _POOL, _new_job, missing=400),
    f"GET {_A}/batchJobs": Call(Need.READ),
    f"POST {_A}/batchJobs:batchDelete": Call(Need.CREATOR_OR_SHARED, _JOB, _names("batchJobs", World.make_job)),
    f"GET {_A}/batchJobs/{{job_id}}": Call(Need.READ, _JOB),
    f"PATCH {_A}/batchJobs/{{job_id}}": Call(Need.CREATOR_OR_SHARED, _JOB, _plain(displayName="renamed")),
    f"DELETE {_A}/batchJobs/{{job_id}}": Call(Need.CREATOR_OR_SHARED, _JOB),
    f"POST {_A}/batchJobs/{{job_id}}:cancel": Call(Need.CREATOR_OR_SHARED, _JOB, _plain()),
    f"POST {_A}/batchJobs/{{job_id}}:clone": Call(Need.CREATOR_OR_SHARED, _JOB, _plain()),
    f"GET {_A}/batchJobs/{{job_id}}:watch": Call(Need.READ, _JOB),
    f"GET {_A}/batchJobs/{{job_id}}:getLogs": Call(Need.READ, _JOB),
    f"GET {_A}/batchJobs/{{job_id}}:getUsage": Call(Need.READ, _JOB),
    f"GET {_A}/batchJobs/{{job_id}}:streamLogs": Call(Need.READ, _JOB),
    f"GET {_A}/batchJobs/{{job_id}}:downloadLogs": Call(Need.READ, _JOB),
    f"GET {_A}/batchJobs/{{job_id}}/ranks": Call(Need.READ, _JOB),
    f"GET {_A}/batchJobs/{{job_id}}/ranks/{{rank}}": Call(Need.READ, _JOB),
    f"GET {_A}/batchJobs/{{job_id}}/ranks/{{rank}}/usage": Call(Need.READ, _JOB),
    f"GET {_A}/batchJobs/{{job_id}}/ranks/{{rank}}/notebook": Call(Need.READ, _JOB),
    f"GET {_A}/batchJobs/{{job_id}}/ranks/{{rank}}/outputs": Call(Need.READ, _JOB),
    f"GET {_A}/batchJobs/{{job_id}}/ranks/{{rank}}/outputs/{{output}}": Call(Need.READ, _JOB),
    f"GET {_A}/batchJobs/{{job_id}}/ranks/{{rank}}:downloadOutputs": Call(Need.READ, _JOB),
    f"GET {_A}/batchJobs/{{job_id}}/events": Call(Need.READ, _JOB),
    f"GET {_A}/batchJobs/{{job_id}}/files/{{file}}": Call(Need.READ, _JOB),
    f"POST {_A}/nodePools": Call(Need.ADMIN, body=_new_pool),
    f"GET {_A}/nodePools": Call(Need.READ),
    f"POST {_A}/nodePools:batchDelete": Call(Need.ADMIN, _POOL, _names("nodePools", World.make_pool)),
    f"GET {_A}/nodePools/{{pool_id}}": Call(Need.READ, _POOL),
    f"GET {_A}/nodePools/{{pool_id}}:getStats": Call(Need.READ, _POOL),
    f"PATCH {_A}/nodePools/{{pool_id}}": Call(Need.ADMIN, _POOL, _plain(displayName="renamed")),
    f"DELETE {_A}/nodePools/{{pool_id}}": Call(Need.ADMIN, _POOL),
    f"POST {_NODES}": Call(Need.NODE_OWNER, _POOL, _new_node),
    f"GET {_NODES}": Call(Need.ADMIN, _POOL),
    f"GET {_NODES}/{{node_id}}": Call(Need.ADMIN, _POOL),
    f"PATCH {_NODES}/{{node_id}}": Call(Need.NODE_OWNER, _POOL, _plain(slots=3)),
    f"DELETE {_NODES}/{{node_id}}": Call(Need.NODE_OWNER, _POOL),
    f"POST {_NODES}/{{node_id}}:drain": Call(Need.ADMIN, _POOL, _plain()),
    f"POST {_NODES}/{{node_id}}:undrain": Call(Need.ADMIN, _POOL, _plain()),
    f"POST {_A}/nodePoolBindings": Call(Need.ADMIN, _POOL, _new_pool_binding, missing=400),
    f"GET {_A}/nodePoolBindings": Call(Need.ADMIN),
    f"POST {_A}/nodePoolBindings:delete": Call(
        Need.ADMIN, (Target.OWN, Target.FOREIGN, Target.RANDOM), _pool_binding
    ),
    f"POST {_A}/awsIamRoleBindings": Call(Need.ADMIN, body=_new_role_binding),
    f"GET {_A}/awsIamRoleBindings": Call(Need.ADMIN),
    f"POST {_A}/awsIamRoleBindings:delete": Call(
        Need.ADMIN, (Target.OWN, Target.FOREIGN, Target.RANDOM), _role_binding
    ),
    f"POST {_A}/secrets": Call(Need.USER, body=_new_secret),
    f"GET {_A}/secrets": Call(Need.READ),
    f"GET {_A}/secrets/{{secret_id}}": Call(Need.READ, _PERSONAL),
    f"PATCH {_A}/secrets/{{secret_id}}": Call(Need.OWNER_OR_ADMIN, _PERSONAL, _plain(keyName="RENAMED")),
    f"DELETE {_A}/secrets/{{secret_id}}": Call(Need.OWNER_OR_ADMIN, _PERSONAL),
    f"POST {_A}/environments": _unserved(Need.USER),
    f"GET {_A}/environments": _unserved(Need.READ),
    f"GET {_A}/environments/{{environment_id}}": _unserved(Need.READ),
    f"PATCH {_A}/environments/{{environment_id}}": _unserved(Need.USER),
    f"DELETE {_A}/environments/{{environment_id}}": _unserved(Need.USER),
    f"POST {_A}/environments/{{environment_id}}:connect": _unserved(Need.USER),
    f"POST {_A}/environments/{{environment_id}}:disconnect": _unserved(Need.USER),
    f"POST {_A}/environments:batchDelete": _unserved(Need.USER),
    f"POST {_A}/snapshots": _unserved(Need.USER),
    f"GET {_A}/snapshots": _unserved(Need.READ),
    f"GET {_A}/snapshots/{{snapshot_id}}": _unserved(Need.READ),
    f"DELETE {_A}/snapshots/{{snapshot_id}}": _unserved(Need.USER),
}
