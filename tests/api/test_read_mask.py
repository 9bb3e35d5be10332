"""Read masks: which paths there are, and what is left of an answer."""

from __future__ import annotations

from typing import Annotated, Any, NotRequired

import pytest
from typing_extensions import TypedDict

from api.wire.read_mask import read_mask, shape_of
from core.errors import InvalidArgument


class _Inner(TypedDict):
    targetType: str
    args: list[str]


class _Thing(TypedDict):
    name: str
    createTime: Annotated[str, "a time"] | None
    innerThing: NotRequired[_Inner]
    otherThing: _Inner | None
    labels: dict[str, str]
    rows: list[_Inner]


SHAPE = shape_of(_Thing)
INNER = {"targetType": "MODULE", "args": ["a"]}
THING: dict[str, Any] = {
    "name": "n",
    "createTime": None,
    "innerThing": INNER,
    "otherThing": None,
    "labels": {"team": "a", "example.com/x": "b", "c,d": "e"},
    "rows": [INNER],
}


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("", THING),
        (" ", THING),
        ("*", THING),
        ("name,*", THING),
        ("name", {"name": "n"}),
        (" name , create_time", {"name": "n", "createTime": None}),
        ("innerThing", {"innerThing": INNER}),
        ("inner_thing.target_type", {"innerThing": {"targetType": "MODULE"}}),
        ("innerThing.args,innerThing", {"innerThing": INNER}),
        ("innerThing,innerThing.args", {"innerThing": INNER}),
        ("innerThing.args,innerThing.targetType", {"innerThing": INNER}),
        ("otherThing.args", {"otherThing": None}),
        ("labels.team", {"labels": {"team": "a"}}),
        ("labels.example.com/x,labels.nothing", {"labels": {"example.com/x": "b"}}),
        ("labels.`c,d`", {"labels": {"c,d": "e"}}),
        ("rows", {"rows": [INNER]}),
    ],
)
def test_read_mask_leaves_what_it_names(text: str, left: dict[str, Any]) -> None:
    assert read_mask(text, SHAPE).apply(THING) == left


def test_read_mask_of_a_field_that_is_not_set_leaves_nothing() -> None:
    assert read_mask("innerThing", SHAPE).apply({"name": "n"}) == {}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("nme", "unknown field nme; did you mean name?"),
        ("qqqq", "unknown field qqqq; there are name, createTime"),
        ("name.x", "unknown field name.x"),
        ("innerThing.nothing", "unknown field innerThing.nothing"),
        ("innerThing.", "unknown field innerThing."),
        ("rows.args", "unknown field rows.args"),
        ("labels.", "unknown field labels."),
        ("name,", "missing beside a comma"),
        (",", "missing beside a comma"),
        ("name,,createTime", "missing beside a comma"),
        ("`name", "unknown field `name"),
        (",".join(f"a{number}" for number in range(9_000)), "unknown field a0"),
    ],
)
def test_read_mask_with_an_unknown_path_is_refused_naming_it(text: str, said: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        read_mask(text, SHAPE)
    assert all(violation.field == "readMask" for violation in caught.value.violations)
    assert said in caught.value.violations[0].description and len(caught.value.violations) <= 20
