"""The served API against its own document: generated requests, good and bad, alone and in sequences.

The short form runs everywhere; the long one (`-m slow`) asks each operation at least a thousand times. Every
operation comes out of the document, so that a new route cannot escape.

Checks that are left out, and why:
- positive_data_acceptance: the document cannot say that a pool must exist or an image be a reference.
- unsupported_method: the contract answers UNIMPLEMENTED, 501, where the check wants 405.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any, TypeVar

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase
from hypothesis import settings as hypothesis_settings
from hypothesis.errors import FlakyStrategyDefinition
from schemathesis.config import SchemathesisConfig

from api.openapi.document import operations
from core.database import Database
from core.settings import Settings
from tests.api.conftest import Served
from tests.api.known_resources import NARROWED, STREAM, seed, unlimited

Json = dict[str, Any]
Test = TypeVar("Test", bound=Callable[..., None])

SHORT_EXAMPLES, LONG_EXAMPLES = 5, 1000
_SEQUENCES_AT_A_TIME = 50


def linked(document: Json, collection: str) -> Json:
    """A collection's part of the document, its creation linked to all that can be asked of what was made.

    The id is the last part of the answer's `name`, which plain expressions cannot cut out. Without streams,
    and without dry runs, which make nothing.
    """
    found = copy.deepcopy(document)
    found["paths"] = {path: item for path, item in found["paths"].items() if path.startswith(collection)}
    for path, method, operation in list(operations(found)):
        if STREAM in operation["responses"]["200"].get("content", {}):
            del found["paths"][path][method]
    creation = found["paths"][collection]["post"]
    creation["parameters"] = [each for each in creation.get("parameters", []) if each["name"] != "validateOnly"]
    creation["responses"]["200"]["links"] = dict(_links(found, collection))
    return found


def _links(document: Json, path: str) -> Iterator[tuple[str, Json]]:
    above = {name: f"$request.path.{name}" for name in re.findall(r"\{(\w+)\}", path)}
    # What is below another account is there for nobody who asks here.
    below = "" if path == "/v1/accounts" else "[^{}]*"
    for other, _, operation in operations(document):
        of_one = re.fullmatch(rf"{re.escape(path)}/\{{(\w+)\}}{below}", other)
        # What a `:delete` is to remove is in its body: that it is not there says nothing of what was made.
        if of_one and not other.endswith(":delete"):
            target = operation["operationId"]
            parameters = {**above, of_one[1]: "$response.body#/name#regex:.+/(.+)"}
            yield target, {"operationId": target, "parameters": parameters}


def schema_of(document: Json) -> Any:
    """Schemathesis' view of a document, with the checks that can be true here."""
    config = SchemathesisConfig.from_dict(
        {
            "request-timeout": 30,
            # The key is in every request; that it is asked for has a check of its own.
            "generation": {"with-security-parameters": False},
            "checks": {
                # 501 is UNIMPLEMENTED: said of what the contract has and this version does not serve.
                "not_a_server_error": {"expected-statuses": ["2xx", "4xx", "501"]},
                "positive_data_acceptance": {"enabled": False},
                "unsupported_method": {"enabled": False},
            },
            "phases": {
                "coverage": {"unexpected-methods": []},
                # The links are ours: guessed ones would revoke the key that the test asks with.
                "stateful": {"inference": {"algorithms": []}},
            },
        }
    )
    found = schemathesis.openapi.from_dict(document, config=config)

    @found.hook
    def filter_query(_context: Any, query: Any) -> bool:
        """A parameter that is an empty list or object is not on the wire, so that nothing could refuse it."""
        return not any(value in ([], {}) for value in (query or {}).values())

    @found.hook
    def filter_path_parameters(_context: Any, path_parameters: Any) -> bool:
        """In a sequence these go into the path as they are, and would make it another operation's."""
        return not any(set(str(value)) & set("/?#") for value in (path_parameters or {}).values())

    return found


def asking(examples: int) -> hypothesis_settings:
    """So many examples beside those that are not random: the document's own and those at every boundary."""
    return hypothesis_settings(
        max_examples=examples,
        deadline=None,
        derandomize=examples == SHORT_EXAMPLES,
        database=None,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.explicit, Phase.generate, Phase.shrink],
    )


schema = schema_of(NARROWED)


@pytest.fixture(scope="module")
def settings(database_url: str, broker_url: str, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    return unlimited(database_url, broker_url, tmp_path_factory.mktemp("keys") / "keys")


@pytest.fixture
def seeded(served: Served, admin: httpx.Client, database: Database) -> None:
    seed(served, admin, database)


def each_operation() -> Callable[[Test], Test]:
    """One test for each operation of the document."""
    parametrized: Callable[[Test], Test] = schema.parametrize()
    return parametrized


def ask(case: schemathesis.Case[Any], served: Served) -> None:
    """Send a request and hold the answer against the document."""
    case.call_and_validate(base_url=served.url, headers={"Authorization": f"Bearer {served.admin_key}"})


#: Where something is made that can be asked for afterwards.
COLLECTIONS = [
    path
    for path, method, operation in operations(NARROWED)
    if method == "post" and operation["operationId"].endswith("_create") and list(_links(NARROWED, path))
]


def run_sequences(served: Served, collection: str, wanted: int) -> None:
    """Creations, and what can be asked of what they made, in every order."""
    machine = schema_of(linked(NARROWED, collection)).as_state_machine()
    begun = 0

    class Sequences(machine):  # type: ignore[misc, valid-type]
        def setup(self) -> None:
            nonlocal begun
            begun += 1

        def get_call_kwargs(self, case: schemathesis.Case[Any]) -> Json:
            return {"base_url": served.url, "headers": {"Authorization": f"Bearer {served.admin_key}"}}

    while begun < wanted:
        # The same choices lead elsewhere once something of that id or key exists. Hypothesis then begins anew.
        with suppress(FlakyStrategyDefinition):
            Sequences.run(settings=asking(min(wanted - begun, _SEQUENCES_AT_A_TIME)))


@each_operation()
@asking(SHORT_EXAMPLES)
def test_answers_to_generated_requests_are_as_documented(
    case: schemathesis.Case[Any], served: Served, seeded: None
) -> None:
    ask(case, served)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@each_operation()
@asking(LONG_EXAMPLES)
def test_answers_to_a_thousand_generated_requests_are_as_documented(
    case: schemathesis.Case[Any], served: Served, seeded: None
) -> None:
    ask(case, served)


@pytest.mark.parametrize("collection", COLLECTIONS)
def test_sequences_from_creation_to_deletion_are_as_documented(
    served: Served, seeded: None, collection: str
) -> None:
    run_sequences(served, collection, SHORT_EXAMPLES)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("collection", COLLECTIONS)
def test_a_thousand_sequences_from_creation_to_deletion_are_as_documented(
    served: Served, seeded: None, collection: str
) -> None:
    run_sequences(served, collection, LONG_EXAMPLES)
