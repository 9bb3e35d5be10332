"""Tree to text, in one form: what `parse_filter` makes of it is the same tree again.

Every part of an And has its AND; brackets stand only where the tree needs them.
"""

from __future__ import annotations

from api.wire.filter_grammar.tree import And, Not, Or, Restriction, Tree, Value

_ESCAPES = str.maketrans({"\\": "\\\\", '"': '\\"', "*": "\\*"})


def print_filter(tree: Tree | None) -> str:
    """The filter's text; empty of None."""
    match tree:
        case None:
            return ""
        case And(parts):
            return " AND ".join(_within(part, And) for part in parts)
        case Or(parts):
            return " OR ".join(_within(part, And, Or) for part in parts)
        case Not(part):
            return f"NOT {_within(part, And, Or, Not)}"
        case Restriction(path, comparator, argument):
            return f"{_path(path)}{_comparison(comparator, argument)}"


def _within(part: Tree, *bracketed: type) -> str:
    text = print_filter(part)
    return f"({text})" if isinstance(part, bracketed) else text


def _path(path: tuple[Value, ...]) -> str:
    return ".".join(map(_value, path))


def _comparison(comparator: str, argument: Value | Tree | None) -> str:
    if argument is None:
        return ""
    shown = _value(argument) if isinstance(argument, Value) else f"({print_filter(argument)})"
    return f" {comparator} {shown}"


def _value(value: Value) -> str:
    if not value.quoted:
        return value.text
    return '"' + "*".join(piece.translate(_ESCAPES) for piece in value.pieces) + '"'
