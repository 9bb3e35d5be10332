"""A machine's labels: read from its command line, and kept by the node that it becomes."""

from __future__ import annotations

import pytest

from core.database import Database
from core.enrolment import ensure_first_account
from core.nodes import ensure_pool
from core.pools.nodes import get_node_details
from deploy.membership import DatabaseMembership, Machine
from deploy.node import read_labels


@pytest.mark.parametrize(
    ("given", "labels"),
    [
        ([], {}),
        (["disk=ssd", "rack.example/row=7"], {"disk": "ssd", "rack.example/row": "7"}),
        (["flag=", "formula=a=b"], {"flag": "", "formula": "a=b"}),
        (["a=1", "a=1"], {"a": "1"}),
    ],
)
def test_read_labels_of_pairs_is_a_mapping(given: list[str], labels: dict[str, str]) -> None:
    assert read_labels(given) == labels


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["disk"], "disk: must be KEY=VALUE"),
        (["=x"], '[""]: the name must be'),
        (["longshore/a=x"], '["longshore/a"]: the prefix longshore/ is reserved'),
        (["a=1", "a=2"], "a=2: a is 1 already"),
        (["a=" + "x" * 64], "every value must be of at most 63 characters"),
    ],
)
def test_read_labels_of_what_is_none_says_what_would_be(given: list[str], said: str) -> None:
    with pytest.raises(ValueError) as refused:
        read_labels(given)
    assert said in str(refused.value)


def test_join_again_sets_the_labels_that_are_given_and_else_leaves_them(database: Database) -> None:
    ensure_first_account(database, account="acme", user_email="a@b.c", key_file_has_key=False)
    ensure_pool(database, account="acme")

    def labels_after(**labels: str) -> dict[str, str]:
        membership = DatabaseMembership(database.url, "acme", "default", "node")
        try:
            membership.join(Machine("unix:///x", "beside-node", "", labels, cpu_count=2, memory_bytes=1 << 30))
        finally:
            membership.close()
        return dict(get_node_details(database, "acme", "default", "node").labels)

    assert labels_after() == {}
    assert labels_after(disk="ssd", site="a") == {"disk": "ssd", "site": "a"}
    assert labels_after() == {"disk": "ssd", "site": "a"}
    assert labels_after(disk="hdd") == {"disk": "hdd"}
