"""The document for an account of which something is known, and requests that make what it names.

Generated ids hit nothing and generated names pass no rule; here half of the ids of paths, and the telling fields
of bodies and queries, are those of things that exist. All goes by the names of parameters and fields.
"""

from __future__ import annotations

import copy
import re
from pathlib import Path
from typing import Any

import httpx
from sqlalchemy import update

from api.app import create_app
from api.openapi.document import operations
from api.wire.resource_ids import PATTERN
from core.database import Database
from core.models import Account
from core.sealing import new_key_line
from core.settings import Settings
from tests.api.conftest import ACCOUNT, IMAGE, Served

Json = dict[str, Any]

UNDER_ACCOUNT = "/v1/accounts/{account_id}"
KNOWN = "known"
MAX_RANKS = 100
_NEW_ID = {"type": "string", "pattern": PATTERN}
#: What the account has and what is plausible, for bodies: otherwise hardly one would get past its rules. Lists of
#: values and no patterns of our own: what nearly meets such a pattern is called bad, and is often right.
_TELLING: dict[str, Json] = {
    "nodePoolId": {"type": "string", "enum": ["imaged", KNOWN]},
    "numRanks": {"type": "integer", "minimum": 1, "maximum": MAX_RANKS},
    "imageRef": {"type": "string", "enum": [IMAGE]},
    "email": {"type": "string", "enum": [f"user{number}@known.example" for number in range(50)]},
    "principal": {"type": "string", "enum": ["admin@acme.example", "user@acme.example", f"accounts/{ACCOUNT}"]},
    "endpoint": {"type": "string", "enum": [f"unix:///run/engine{number}.sock" for number in range(50)]},
}
#: Made anew before each operation's requests, so that half of them reach something: the parameter of the path
#: that takes the id, and the path, query and body that make it. Where it is there already, 409 is as good.
_SEEDS: dict[str, tuple[str, str, Json]] = {
    "account_id": ("/v1/accounts", "", {"accountId": KNOWN, "account": {"email": "ann@known.example"}}),
    "pool_id": (
        f"{UNDER_ACCOUNT}/nodePools",
        "",
        {"nodePoolId": KNOWN, "nodePool": {"dockerNodePool": {"defaultImageRef": IMAGE}}},
    ),
    "node_id": (
        f"{UNDER_ACCOUNT}/nodePools/{{pool_id}}/nodes",
        "",
        {"nodeId": KNOWN, "node": {"endpoint": "unix:///run/known.sock"}},
    ),
    "job_id": (f"{UNDER_ACCOUNT}/batchJobs", f"batchJobId={KNOWN}", {"nodePoolId": "imaged"}),
    "user_id": (f"{UNDER_ACCOUNT}/users", f"userId={KNOWN}", {"email": "known@acme.example", "role": "user"}),
    "secret_id": (f"{UNDER_ACCOUNT}/secrets", f"secretId={KNOWN}", {"keyName": "TOKEN", "value": "x"}),
}
STREAM = "text/event-stream"


def narrowed(document: Json) -> Json:
    """The document for one account: half of the ids, and of what a body or a query names, are those that exist.

    Output-only fields of a body are left out, because they are neither what a client should send nor refused.
    """
    found = copy.deepcopy(document)
    for path, _, operation in operations(found):
        is_stream = STREAM in operation["responses"]["200"].get("content", {})
        fields = _answered_fields(found, operation)
        for parameter in operation.get("parameters", []):
            name, schema = parameter["name"], parameter["schema"]
            if name == "account_id" and path.startswith(UNDER_ACCOUNT + "/"):
                parameter["schema"] = {"const": ACCOUNT}
            # A stream of something that exists would last; of what does not, it is an answer like others.
            elif name in _SEEDS and is_stream:
                parameter["schema"] = {"type": "string", "pattern": "^[a-z]{40,60}$"}
            elif name in _SEEDS:
                parameter["schema"] = {"anyOf": [{"const": KNOWN}, schema]}
            elif name in _SPOKEN and fields:
                spoken = [_SPOKEN[name].format(field) for field in fields]
                parameter["schema"] = {"anyOf": [{"type": "string", "enum": spoken}, schema]}
        for media in operation.get("requestBody", {}).get("content", {}).values():
            collection = path.rpartition("/")[2].partition(":")[0]
            name = {"type": "string", "enum": [f"accounts/{ACCOUNT}/{collection}/{KNOWN}"]}
            of_path = {f"{collection[:-1]}Id": _NEW_ID, "names": {"type": "array", "items": name}}
            _narrow_body(media["schema"], {**_TELLING, **of_path})
    return found


#: How a query says a field.
_SPOKEN = {"readMask": "{0}", "updateMask": "{0}", "orderBy": "{0} desc", "filter": '{0} != "x"'}


def _answered_fields(document: Json, operation: Json) -> list[str]:
    """The fields of an operation's answer, or of the items of its list."""
    schemas = document["components"]["schemas"]
    content = operation["responses"]["200"].get("content", {}).get("application/json", {})
    answer = schemas.get(content.get("schema", {}).get("$ref", "").rpartition("/")[2], {})
    properties = answer.get("properties", {})
    items = [each["items"]["$ref"] for each in properties.values() if "$ref" in each.get("items", {})]
    if "nextPageToken" in properties and items:
        properties = schemas[items[0].rpartition("/")[2]]["properties"]
    return list(properties)


def _narrow_body(schema: Json, telling: Json) -> None:
    properties = schema.get("properties", {})
    for name in [name for name, each in properties.items() if each.get("readOnly")]:
        del properties[name]
    for name, each in properties.items():
        if name in telling:
            properties[name] = telling[name]
        else:
            _narrow_body(each, telling)


#: A document does not need a served application, so that each operation can be a test of its own.
DOCUMENT: Json = create_app(Settings(database_url="", broker_url="")).openapi()
NARROWED = narrowed(DOCUMENT)


def unlimited(database_url: str, broker_url: str, keys: Path) -> Settings:
    """Settings without limits: what is asked for is asked for by one key and one address."""
    keys.touch(0o600)
    keys.write_text(new_key_line("k1"))
    return Settings(
        secret_keys_file=keys,
        database_url=database_url,
        broker_url=broker_url,
        max_ranks=MAX_RANKS,
        rate_limit_per_second=0,
        failed_key_limit_per_second=0,
        max_live_jobs=10**9,
        max_live_ranks=10**9,
    )


def seed(served: Served, admin: httpx.Client, database: Database) -> None:
    """Make what the ids of `_SEEDS` name; the admin becomes one of the operator's, who may ask for anything."""
    with database.transaction() as connection:
        operator = update(Account).where(Account.id == ACCOUNT)
        connection.execute(operator.values(is_operator=True, may_own_nodes=True))
    for path, query, body in _SEEDS.values():
        if path in DOCUMENT["paths"]:
            there = re.sub(r"\{\w+\}", KNOWN, path.replace("{account_id}", ACCOUNT))
            answer = admin.post(f"{served.url}{there}?{query}", json=body)
            assert answer.status_code in (200, 409), answer.text
