"""Lists as a client sees them: filter, orderBy, pages, tokens and readMask, on jobs."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import orjson
import pytest

from api.wire.filter_grammar.parsing import MAX_DEPTH, MAX_RESTRICTIONS
from api.wire.lists import ListSchema, read_list
from api.wire.page_tokens import make_page_token
from core.database import Database
from core.errors import InvalidArgument
from core.jobs import job_moves
from core.jobs.reading import get_job
from core.listing.fields import FieldType, ListField, Listing, OrderTerm
from core.listing.paging import Page
from core.states import JobState
from tests.api.conftest import ACCOUNT

Create = Callable[..., str]
JOBS: dict[str, dict[str, Any]] = {
    "alpha": {
        "numRanks": 3,
        "pythonExecutor": {"targetType": "MODULE", "target": "train.main", "args": ["--lr", "1"]},
        "annotations": {"team": "a", "example.com/x": "1"},
        "envVars": {"MODE": "fast"},
        "stopGracePeriod": "90s",
    },
    "Beta 100%": {"shellExecutor": {"command": "echo 'a_b\\c'"}, "annotations": {"team": "b"}, "shared": True},
    "gamma": {
        "notebookExecutor": {"notebookFilename": "/n.ipynb"},
        "nodePoolId": "imaged",
        "envVars": {"MODE": ""},
    },
    "ümlaut": {"numRanks": 2},
}


@pytest.fixture(scope="module")
def ids(admin: httpx.Client, database: Database) -> dict[str, str]:
    """The ids of the jobs above by display name; gamma has failed."""
    made = {}
    for name, fields in JOBS.items():
        body = {"nodePoolId": "default", "imageRef": "registry.example/t:1", **fields, "displayName": name}
        answer = admin.post("/batchJobs", json=body)
        assert answer.status_code == 200, answer.text
        made[name] = answer.json()["name"].rpartition("/")[2]
    key = get_job(database, ACCOUNT, made["gamma"]).id
    with database.transaction() as connection:
        job_moves.move_job(connection, key, 1, JobState.FAILED, status="rank 0 exited with 1")
    return made


def _found(client: httpx.Client, **params: Any) -> list[str]:
    answer = client.get("/batchJobs", params=params)
    assert answer.status_code == 200, answer.text
    body = answer.json()
    assert body["totalSize"] == len(body["batchJobs"]) and body["nextPageToken"] == ""
    return [job["displayName"] for job in body["batchJobs"]]


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("state = FAILED", "gamma"),
        ("state != FAILED", "alpha|Beta 100%|ümlaut"),
        ("end_time:*", "gamma"),
        ("endTime = null", "alpha|Beta 100%|ümlaut"),
        ("endTime < 2126-01-01T00:00:00Z", "gamma"),
        ("NOT endTime < 2126-01-01T00:00:00Z", "alpha|Beta 100%|ümlaut"),
        ("createTime > 2126-01-01T00:00:00Z", ""),
        ("numRanks >= 2 AND numRanks < 3", "ümlaut"),
        ("numRanks < 99999999999999999999", "alpha|Beta 100%|gamma|ümlaut"),
        ("shared = true", "Beta 100%"),
        ('displayName = "Beta 100%"', "Beta 100%"),
        ('displayName = "*0%"', "Beta 100%"),
        ('displayName:"%"', "Beta 100%"),
        ('displayName:"_"', ""),
        ("displayName:beta", "Beta 100%"),
        ("displayName = ü*", "ümlaut"),
        ("annotations:team", "alpha|Beta 100%"),
        ("annotations.team = a", "alpha"),
        ("annotations.team != a", "Beta 100%|gamma|ümlaut"),
        ('annotations."example.com/x":*', "alpha"),
        ("annotations:*", "alpha|Beta 100%"),
        ("env_vars.MODE = fast", "alpha"),
        ("envVars:MODE", "alpha|gamma"),
        ("pythonExecutor.target = train.*", "alpha"),
        ("python_executor.target_type = MODULE", "alpha"),
        ("pythonExecutor.args:--lr", "alpha"),
        ("notebookExecutor:*", "gamma"),
        ("notebookExecutor.notebookFilename:ipynb", "gamma"),
        (r'shellExecutor.command:"a_b\\c"', "Beta 100%"),
        (r'shellExecutor.command:"a_b%c"', ""),
        ("pythonExecutor = null shellExecutor = null notebookExecutor = null", "ümlaut"),
        ("stopGracePeriod > 60s", "alpha"),
        ("nodePoolId = imaged", "gamma"),
        ("createdBy = admin@acme.example", "alpha|Beta 100%|gamma|ümlaut"),
        ("imageRef = registry.example*", "alpha|Beta 100%|gamma|ümlaut"),
        ("attempt = 1 reason = '' imageDigest = ''", "alpha|Beta 100%|gamma|ümlaut"),
        ("TRAIN.main", "alpha"),
        ("exited OR train", "alpha|gamma"),
        ("-exited -train", "Beta 100%|ümlaut"),
        ("state = (FAILED OR CANCELLED) OR annotations.team:b", "Beta 100%|gamma"),
    ],
)
def test_list_with_a_filter_gives_what_matches(
    admin: httpx.Client, ids: dict[str, str], text: str, names: str
) -> None:
    assert _found(admin, filter=text, orderBy="displayName") == [
        name for name in ["Beta 100%", "alpha", "gamma", "ümlaut"] if name in names.split("|")
    ]


def test_list_by_name_finds_the_job(admin: httpx.Client, ids: dict[str, str]) -> None:
    assert _found(admin, filter=f'name = "accounts/{ACCOUNT}/batchJobs/{ids["gamma"]}"') == ["gamma"]
    assert _found(admin, filter=f"name:{ids['alpha']}") == ["alpha"]


@pytest.mark.parametrize(
    ("order", "names"),
    [
        ("", "ümlaut|gamma|Beta 100%|alpha"),
        ("create_time", "alpha|Beta 100%|gamma|ümlaut"),
        ("displayName desc", "ümlaut|gamma|alpha|Beta 100%"),
        ("numRanks desc, display_name", "alpha|ümlaut|Beta 100%|gamma"),
        ("state, numRanks desc,displayName desc", "gamma|alpha|ümlaut|Beta 100%"),
        ("end_time desc,displayName", "gamma|Beta 100%|alpha|ümlaut"),
        ("endTime,displayName", "Beta 100%|alpha|ümlaut|gamma"),
        ("pythonExecutor.target desc, displayName", "alpha|Beta 100%|gamma|ümlaut"),
        ("stopGracePeriod desc, displayName", "alpha|Beta 100%|gamma|ümlaut"),
    ],
)
@pytest.mark.parametrize("size", [1, 3, 50])
def test_list_in_an_order_by_pages_gives_every_job_once(
    admin: httpx.Client, ids: dict[str, str], order: str, names: str, size: int
) -> None:
    found, token = [], ""
    while True:
        asked: dict[str, Any] = {"orderBy": order, "pageSize": size, "readMask": "display_name"}
        page = admin.get("/batchJobs", params={**asked, "pageToken": token}).json()
        assert page["totalSize"] == 4 and all(list(job) == ["displayName"] for job in page["batchJobs"])
        found += [job["displayName"] for job in page["batchJobs"]]
        token = page["nextPageToken"]
        if not token:
            break
    assert found == names.split("|")


def test_list_ordered_by_the_longest_text_has_a_token_that_can_be_sent(
    admin: httpx.Client, ids: dict[str, str]
) -> None:
    long_ids = []
    for _ in range(2):
        body = {"nodePoolId": "imaged", "shellExecutor": {"command": "é" * 65_000}}
        long_ids.append(admin.post("/batchJobs", json=body).json()["name"].rpartition("/")[2])
    try:
        params: dict[str, Any] = {"orderBy": "shellExecutor.command desc", "pageSize": 1, "readMask": "name"}
        seen = []
        for _ in range(2):
            page = admin.get("/batchJobs", params=params).json()
            seen += [job["name"].rpartition("/")[2] for job in page["batchJobs"]]
            params["pageToken"] = page["nextPageToken"]
        assert sorted(seen) == sorted(long_ids)
    finally:
        for job_id in long_ids:
            assert admin.delete(f"/batchJobs/{job_id}").status_code == 200


def test_list_with_several_bad_parameters_names_every_one(admin: httpx.Client) -> None:
    params = {"filter": "numRanks = x", "orderBy": "q", "readMask": "q", "pageSize": "-1", "nothing": "1"}
    answer = admin.get("/batchJobs", params=params)
    assert answer.status_code == 400
    violations = answer.json()["details"][0]["fieldViolations"]
    assert {each["field"] for each in violations} == set(params)


@pytest.mark.parametrize(
    "text", ["(" * 500, "a\0b", "x" * 30_000, "'", '"\\', "a.b.c = 1", "\ud800", "%", "(((", "AND OR NOT"]
)
def test_list_with_a_hostile_filter_is_refused_or_answered(
    admin: httpx.Client, ids: dict[str, str], text: str
) -> None:
    raw = text.encode("utf-8", "surrogatepass")
    answer = admin.get("/batchJobs", params={"filter": raw})
    assert answer.status_code in (200, 400)
    if answer.status_code == 400:
        assert "filter: column " in answer.json()["message"]


def test_list_with_a_filter_at_every_limit_is_answered(admin: httpx.Client, ids: dict[str, str]) -> None:
    deep = "endTime:*"
    for _ in range(MAX_DEPTH):
        deep = f"state:RUNNING numRanks=1 OR NOT ({deep})"
    for text in (deep, " OR ".join(["shared = true"] * MAX_RESTRICTIONS), "a " * 36, "-" + "x" * 4_000):
        answer = admin.get("/batchJobs", params={"filter": text})
        assert answer.status_code == 200, answer.text


# --- tokens


@pytest.fixture
def token(admin: httpx.Client, ids: dict[str, str]) -> str:
    given: str = admin.get("/batchJobs", params={"pageSize": 1, "filter": "state!=FAILED"}).json()["nextPageToken"]
    assert given
    return given


@pytest.mark.parametrize(
    "other",
    [
        {"pageSize": 2},
        {"filter": "state!=RUNNING"},
        {"filter": ""},
        {"orderBy": "createTime"},
        {"orderBy": "createTime desc,displayName"},
        {"readMask": "name"},
    ],
)
def test_token_with_another_query_is_refused(admin: httpx.Client, token: str, other: dict[str, Any]) -> None:
    same: dict[str, Any] = {"pageSize": 1, "filter": "state!=FAILED", "pageToken": token}
    assert admin.get("/batchJobs", params=same).status_code == 200
    answer = admin.get("/batchJobs", params={**same, **other})
    assert answer.status_code == 400
    assert answer.json()["details"][0]["fieldViolations"][0]["field"] == "pageToken"


LISTING = Listing(
    {
        "title": ListField(FieldType.TEXT, None, nullable=True),  # type: ignore[arg-type]  # no SQL is made of it
        "size": ListField(FieldType.NUMBER, None),  # type: ignore[arg-type]
        "madeAt": ListField(FieldType.TIME, None),  # type: ignore[arg-type]
        "shared": ListField(FieldType.BOOL, None),  # type: ignore[arg-type]
    },
    (OrderTerm("title"), OrderTerm("size"), OrderTerm("madeAt"), OrderTerm("shared")),
    ListField(FieldType.TEXT, None),  # type: ignore[arg-type]
)
SCHEMA = ListSchema("things", LISTING, dict[str, str])
GOOD_KEY: list[Any] = ["a", 1, 0, True, "id"]


def _token_of(key: object, account: str = "acme") -> str:
    """What someone makes who knows the code: the digest is right, so that only the values can be wrong."""
    request = read_list([], SCHEMA, account)
    return make_page_token(key, *request.bound_to)


@pytest.mark.parametrize("key", [GOOD_KEY, [None, *GOOD_KEY[1:]], ["", -1.5, -(10**9), False, ""]])
def test_token_with_values_of_the_right_types_is_read(key: list[Any]) -> None:
    request = read_list([("pageToken", _token_of(key))], SCHEMA, "acme")
    after = request.query.after
    assert after is not None and list(after[:2]) == key[:2] and list(after[3:]) == key[3:]
    answer = request.answer([], Page((), after, 7))
    assert read_list([("pageToken", answer["nextPageToken"])], SCHEMA, "acme").query.after == after


@pytest.mark.parametrize(
    "key",
    [
        None,
        {},
        [],
        GOOD_KEY[:-1],
        [*GOOD_KEY, "x"],
        [1, *GOOD_KEY[1:]],
        ["a\0", *GOOD_KEY[1:]],
        ["a", "1", 0, True, "id"],
        ["a", None, 0, True, "id"],
        ["a", True, 0, True, "id"],
        ["a", 2**63, 0, True, "id"],
        ["a", 1, "2026-01-01T00:00:00Z", True, "id"],
        ["a", 1, 2**62, True, "id"],
        ["a", 1, 0.5, True, "id"],
        ["a", 1, True, True, "id"],
        ["a", 1, 0, 1, "id"],
        ["a", 1, 0, True, None],
        ["a", 1, 0, True, ["id"]],
    ],
)
def test_token_with_values_of_other_types_is_refused(key: object) -> None:
    with pytest.raises(InvalidArgument, match="pageToken"):
        read_list([("pageToken", _token_of(key))], SCHEMA, "acme")


def test_token_of_another_account_or_list_is_refused() -> None:
    other_list = ListSchema("others", LISTING, dict[str, str])
    for schema, account in ((SCHEMA, "globex"), (other_list, "acme")):
        with pytest.raises(InvalidArgument, match="pageToken"):
            read_list([("pageToken", _token_of(GOOD_KEY))], schema, account)


def _forged() -> Iterator[str]:
    good = _token_of(GOOD_KEY)
    yield from ("x", "====", good[:-4], good + "AAAA", good.replace(good[20], "-" if good[20] != "-" else "A"))
    payload = orjson.dumps(GOOD_KEY)
    yield base64.urlsafe_b64encode(hashlib.sha256(payload).digest()[:12] + payload).decode()
    yield base64.urlsafe_b64encode(b"\xff" * 40).decode()


@pytest.mark.parametrize("forged", list(_forged()))
def test_token_that_was_not_given_is_refused(forged: str) -> None:
    with pytest.raises(InvalidArgument, match="pageToken"):
        read_list([("pageToken", forged)], SCHEMA, "acme")
