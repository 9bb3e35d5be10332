"""Who may do what: every route of the application, called as everyone, for everybody's resources.

The routes come from the application's own table and what each needs from its declaration (`api.needs`), so that
a new route is asked like the others, and one that declares nothing or has no valid call here fails.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from fastapi.routing import iter_route_contexts
from sqlalchemy import select

from api.app import create_app
from api.needs import Need, need_of
from core.accounts import OPERATOR
from core.database import Database
from core.models import Account, User
from core.sealing import new_key_line
from core.settings import Settings
from tests.api.conftest import ACCOUNT, OTHER_ACCOUNT, Served
from tests.api.matrix_calls import CALLS, Call
from tests.api.matrix_world import MAKERS, MISSING, Ids, Json, Target, Who, World

PREFIX = "/v1/"
ACCOUNT_PATH = "/v1/accounts/{account_id}"
_PARAMETER = re.compile(r"\{(\w+)\}")

#: Needs of which the operator's admins are, in another account's path.
_OPERATORS = frozenset({Need.OPERATOR, Need.READ_OR_OPERATOR, Need.ADMIN_OR_OPERATOR})
_OF_ADMINS = frozenset({Need.ADMIN, Need.NODE_OWNER, Need.ADMIN_OR_OPERATOR})


@dataclass(frozen=True)
class Route:
    """One method of one path, with what it declares."""

    method: str
    path: str
    need: Need | None

    @property
    def key(self) -> str:
        return f"{self.method} {self.path}"

    @property
    def parameters(self) -> list[str]:
        return _PARAMETER.findall(self.path)


@dataclass(frozen=True)
class Question:
    """A request that is ready to be sent, and the ids that are in it."""

    route: Route
    path: str
    body: Json | None
    ids: Ids

    def ask(self, client: httpx.Client, body: Json | None = None) -> httpx.Response:
        """The answer; of a stream, its beginning."""
        content = self.body if body is None else body
        with client.stream(self.route.method, self.path, json=content) as answer:
            if not answer.headers["Content-Type"].startswith("text/event-stream"):
                answer.read()
            return answer


def _routes() -> list[Route]:
    app = create_app(Settings(database_url="postgresql://nowhere", broker_url="redis://nowhere"))
    return [
        Route(method, context.path.replace(":path}", "}"), need_of(context.endpoint))
        for context in iter_route_contexts(app.routes)
        if context.path and context.endpoint and context.path.startswith(PREFIX)
        for method in sorted(context.methods or ())
    ]


ROUTES = _routes()
UNSERVED = {key for key, call in CALLS.items() if 501 in call.allowed.values()}
WITH_IDS = [route for route in ROUTES if len(route.parameters) > 1 and route.key not in UNSERVED]
WITH_BODIES = [route for route in ROUTES if route.key in CALLS and CALLS[route.key].body is not None]


def _named(routes: list[Route]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("route", routes, ids=lambda route: route.key.replace(ACCOUNT_PATH, "A"))


@pytest.fixture(scope="module")
def settings(
    database_url: str, broker_url: str, object_store_url: str, tmp_path_factory: pytest.TempPathFactory
) -> Settings:
    keys = tmp_path_factory.mktemp("keys") / "secret-keys"
    keys.write_text(new_key_line("k1"))
    return Settings(
        database_url=database_url,
        broker_url=broker_url,
        object_store_url=object_store_url,
        secret_keys_file=keys,
        rate_limit_per_second=0,
        failed_key_limit_per_second=0,
    )


@pytest.fixture(scope="module")
def world(served: Served, database: Database) -> Iterator[World]:
    made = World(served, database)
    made.open()
    yield made
    made.close()


def question(world: World, route: Route, target: Target) -> Question:
    """The route's valid call for a target, whose resources are made."""
    ids: Ids = {}
    for name in route.parameters:
        if route.path == ACCOUNT_PATH:
            ids[name] = world.make_account(target)
        else:
            ids[name] = MAKERS[name](world, target, ids)
    call = CALLS[route.key]
    body = None if call.body is None else call.body(world, target, ids)
    return Question(route, route.path.removeprefix("/v1").format(**ids), body, ids)


def expected(route: Route, call: Call, who: Who, target: Target) -> int:
    """The status that the declared need means for this caller and this target."""
    if who in (Who.NOBODY, Who.REVOKED, Who.EXPIRED):
        return 401
    allowed = call.allowed.get(target, 200)
    if not route.parameters:
        refused = route.need is Need.OPERATOR and who is not Who.OPERATOR
        return 403 if refused else _in_account(route, call, who, target, allowed)
    if who is Who.STRANGER:
        return 404
    if route.path == ACCOUNT_PATH:
        return _of_account(route, who, target, allowed)
    if who is Who.OPERATOR:
        return 404
    return _in_account(route, call, who, target, allowed)


def _of_account(route: Route, who: Who, target: Target, allowed: int) -> int:
    """A route of the account itself: the operator's admins name any, others their own."""
    if target is Target.RANDOM or (target is Target.FOREIGN and who is not Who.OPERATOR):
        return 404
    if who is Who.OPERATOR:
        return allowed if route.need in _OPERATORS else 404
    if route.need is Need.OPERATOR or (who is Who.USER and route.need in _OF_ADMINS):
        return 403
    return allowed


def _in_account(route: Route, call: Call, who: Who, target: Target, allowed: int) -> int:
    """A route in the caller's own account."""
    if who is Who.USER and route.need in _OF_ADMINS:
        return 403
    if target in MISSING:
        return call.missing
    if target is Target.OFFERED and route.need in _OF_ADMINS:
        return 403
    if who is Who.USER and target is Target.OTHER:
        personal = {Need.CREATOR_OR_SHARED: 403, Need.OWNER_OR_ADMIN: 403, Need.OWNER_OR_ADMIN_HIDDEN: 404}
        return personal.get(route.need or Need.READ, allowed)
    return allowed


def test_every_route_declares_what_it_needs() -> None:
    assert len(ROUTES) > 60
    assert [route.key for route in ROUTES if route.need is None] == []


def test_every_route_needs_what_was_agreed() -> None:
    assert {route.key: route.need for route in ROUTES} == {key: call.need for key, call in CALLS.items()}


def test_every_route_has_a_valid_call_and_every_call_a_route() -> None:
    assert {route.key for route in ROUTES} == set(CALLS)


def test_only_routes_of_accounts_themselves_leave_the_callers_account() -> None:
    outside = {route.path for route in ROUTES if not route.path.startswith(f"{ACCOUNT_PATH}/")}
    assert outside == {"/v1/accounts", ACCOUNT_PATH}
    inside = {route.need for route in ROUTES if route.path not in outside}
    assert not inside & {*_OPERATORS, Need.ANYONE}


@_named(ROUTES)
@pytest.mark.parametrize("who", Who, ids=lambda who: who.value)
def test_route_answers_everyone_as_its_need_says(world: World, route: Route, who: Who) -> None:
    call = CALLS[route.key]
    cells = [(target, expected(route, call, who, target)) for target in call.targets]
    questions = {target: question(world, route, target) for target, _ in cells}
    refused = [(target, status) for target, status in cells if status != call.allowed.get(target, 200)]
    before = world.state()
    absent: set[str] = set()
    for target, status in refused:
        answer = questions[target].ask(world.clients[who])
        assert answer.status_code == status, f"{target.value}: {answer.text}"
        if status not in (401, 403):
            absent.add(_without_ids(answer.text, route, questions[target].ids))
    assert world.state() == before, "a refused call changed the database"
    # With the id taken out, what is another's and what is nowhere say the same.
    assert len(absent) <= 1, absent
    for target, status in cells:
        if (target, status) not in refused:
            answer = questions[target].ask(world.clients[who])
            assert answer.status_code == status, f"{target.value}: {answer.text}"


@_named(WITH_IDS)
def test_id_that_cannot_be_is_answered_like_one_that_is_not_there(world: World, route: Route) -> None:
    plain = question(world, route, Target.RANDOM)
    client = world.clients[Who.ADMIN]
    last = route.parameters[-1]
    ids = plain.ids if len(route.parameters) == 2 else question(world, route, Target.OWN).ids
    ids = {**ids, last: plain.ids[last] if last != "rank" else "99999"}

    def ask(given: str) -> tuple[int, Any]:
        path = route.path.removeprefix("/v1").format(**{**ids, last: quote(given, safe="")})
        answer = Question(route, path, plain.body, ids).ask(client)
        # A rank that is there may have no notebook, which is another sentence than that there is no rank.
        said = "" if route.path.endswith("/notebook") else _said_without(answer.json(), given)
        return answer.status_code, said

    unknown = ask(ids[last])
    assert unknown[0] == 404
    before = world.state()
    for impossible in ("\0", "a\0b", "x" * 10_000, "Ünï", "UPPER", "a%b", "a'b", "a\\b", "a b", "0" * 400, "-1"):
        assert ask(impossible) == unknown, impossible[:20]
    raw = route.path.removeprefix("/v1").format(**{**ids, last: "%ED%A0%80%00"})
    assert Question(route, raw, plain.body, ids).ask(client).status_code == unknown[0]
    assert world.state() == before


@_named([route for route in ROUTES if route.need is Need.NODE_OWNER])
def test_admin_of_an_account_that_may_not_own_nodes_is_refused(world: World, route: Route) -> None:
    asked = question(world, route, Target.FOREIGN)
    before = world.state()
    own_path = asked.path.replace(f"/accounts/{ACCOUNT}/", f"/accounts/{OTHER_ACCOUNT}/")
    answer = Question(route, own_path, asked.body, asked.ids).ask(world.clients[Who.STRANGER])
    assert answer.status_code == 403 and "nodes" in answer.json()["message"]
    assert world.state() == before


@_named(WITH_BODIES)
@pytest.mark.parametrize("who", [Who.USER, Who.ADMIN], ids=lambda who: who.value)
@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("isOperator", True),
        ("isAdmin", True),
        ("role", "admin"),
        ("accountId", OTHER_ACCOUNT),
        ("mayOwnNodes", True),
        ("createdBy", "root@operator.example"),
        ("name", f"accounts/{OTHER_ACCOUNT}/things/x"),
    ],
)
def test_field_that_is_not_the_callers_to_set_gives_nobody_anything(
    world: World, route: Route, who: Who, field: str, value: object
) -> None:
    if (who, field) == (Who.ADMIN, "role") and "/users" in route.path:
        pytest.skip("an admin gives roles to users of his account: that is what the call is for")
    asked = question(world, route, Target.OWN)
    before = _standing(world.database)
    for body in _with_field(asked.body or {}, field, value):
        answer = asked.ask(world.clients[who], body)
        assert answer.status_code in (200, 400, 403, 501), answer.text
        said = answer.json()
        assert said.get("createdBy") != value and said.get("accountId") in (None, ACCOUNT)
        assert f"accounts/{OTHER_ACCOUNT}" not in str(said.get("name"))
    assert _standing(world.database) == before


def _with_field(body: Json, field: str, value: object) -> Iterator[Json]:
    """The body with the field in it, and in each message within it."""
    yield {**body, field: value}
    for name, inner in body.items():
        if isinstance(inner, dict):
            yield {**body, name: {**inner, field: value}}


def _standing(database: Database) -> tuple[Any, ...]:
    """What people and accounts may do; of the accounts that nobody here is of, everything."""
    with database.transaction() as connection:
        accounts = connection.execute(
            select(Account.id, Account.is_operator, Account.may_own_nodes, Account.max_live_jobs).order_by(
                Account.id
            )
        ).all()
        admins = connection.execute(
            select(User.account_id, User.user_id)
            .where(User.role == "admin")
            .order_by(User.account_id, User.user_id)
        ).all()
        others = connection.execute(
            select(User.account_id, User.email)
            .where(User.account_id.in_([OTHER_ACCOUNT, OPERATOR]))
            .order_by(User.account_id, User.email)
        ).all()
    return tuple(accounts), tuple(admins), tuple(others)


def _without_ids(text: str, route: Route, ids: Ids) -> str:
    for name, each in ids.items():
        if name != "account_id" or route.path == ACCOUNT_PATH:
            text = re.sub(_whole(each), f"<{name}>", text)
    return text


def _said_without(said: Json, given: str) -> Json:
    return {**said, "message": re.sub(_whole(given), "<id>", said["message"])}


def _whole(each: str) -> str:
    """A pattern of the id that is not in the middle of another."""
    return rf"(?<![\w-]){re.escape(each)}(?![\w-])"
