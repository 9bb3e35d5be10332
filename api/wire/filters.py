"""Filters (AIP-160) checked against a list's fields: text in, a typed condition out, every fault with its column.

- Field names in either spelling. Words without a field are looked for in the fields marked for it: a part of the
  text, whatever the case of A to Z.
- `:` on text is "contains", again whatever the case; on a map "has this key"; on a map's value "is", as AIP-160
  says of maps; on a list "has this element"; elsewhere it is `=`. `:*` is "is set".
- `*` is a wildcard in text, with `=`, `!=` and `:`. `a = (b OR c)` is `a = b OR a = c`.
- What is not set equals nothing (`core.listing.conditions`); `= null` asks for it where null is answered.
"""

from __future__ import annotations

from collections.abc import Mapping

from api.wire.field_names import FieldNames
from api.wire.filter_grammar.parsing import FilterFault, parse_filter
from api.wire.filter_grammar.tree import And, Not, Or, Restriction, Tree, Value, joined
from api.wire.filter_values import typed_comparison
from api.wire.proto_json import shown
from core.errors import FieldViolation, InvalidArgument
from core.listing import conditions
from core.listing.conditions import EVERYTHING, Condition, Field, Matches, Member
from core.listing.fields import FieldType, ListField

_FIELD = "filter"
_MAX_SHOWN_FAULTS = 20
#: What a word is looked for in counts once for each field: two thousand would take half a second to compile.
MAX_COMPARISONS = 400


def read_filter(text: str, fields: Mapping[str, ListField]) -> Condition:
    """The condition; EVERYTHING of an empty filter.

    Raises InvalidArgument on `filter`: at the first fault of syntax, or else naming every fault of meaning.
    """
    try:
        tree = parse_filter(text)
    except FilterFault as fault:
        raise InvalidArgument.field(_FIELD, str(fault)) from None
    if tree is None:
        return EVERYTHING
    checker = _Checker(fields)
    condition = checker.condition(tree)
    if checker.faults:
        raise InvalidArgument(FieldViolation(_FIELD, str(fault)) for fault in checker.faults[:_MAX_SHOWN_FAULTS])
    return condition


class _Checker:
    """One walk over a tree. A fault is noted, and the walk goes on to find the others."""

    def __init__(self, fields: Mapping[str, ListField]) -> None:
        self._fields = fields
        self._names = FieldNames(fields)
        self._free_text = [name for name, field in fields.items() if field.free_text]
        self._word_comparisons = 0
        self.faults: list[FilterFault] = []

    def condition(self, tree: Tree) -> Condition:
        match tree:
            case And(parts):
                return conditions.And(tuple(map(self.condition, parts)))
            case Or(parts):
                return conditions.Or(tuple(map(self.condition, parts)))
            case Not(part):
                return conditions.Not(self.condition(part))
            case Restriction():
                try:
                    return self._restriction(tree)
                except FilterFault as fault:
                    self.faults.append(fault)
                    return EVERYTHING

    def _restriction(self, restriction: Restriction) -> Condition:
        if restriction.argument is None:
            return self._words(restriction)
        operand = self._operand(restriction)
        if not isinstance(restriction.argument, Value):
            return self._distributed(operand, restriction.comparator, restriction.argument)
        return self._compare(operand, restriction.comparator, restriction.argument)

    def _compare(self, operand: Field | Member, comparator: str, value: Value) -> Condition:
        name = operand.name if isinstance(operand, Field) else operand.field
        return typed_comparison(operand, self._fields[name], comparator, value)

    def _distributed(self, operand: Field | Member, comparator: str, tree: Tree) -> Condition:
        """`a = (b OR c)`. Of `!=`, the negation of the whole: neither b nor c."""
        if comparator == "!=":
            return conditions.Not(self._distributed(operand, "=", tree))
        match tree:
            case And(parts):
                return conditions.And(tuple(self._distributed(operand, comparator, part) for part in parts))
            case Or(parts):
                return conditions.Or(tuple(self._distributed(operand, comparator, part) for part in parts))
            case Not(part):
                return conditions.Not(self._distributed(operand, comparator, part))
        if tree.argument is not None:
            raise FilterFault(tree.column, "expected only values in brackets after a comparator")
        try:
            return self._compare(operand, comparator, joined(tree.path))
        except FilterFault as fault:
            self.faults.append(fault)
            return EVERYTHING

    def _words(self, restriction: Restriction) -> Condition:
        if not self._free_text:
            problem = f"expected a field with a comparator; fields are {self._names.listed()}"
            raise FilterFault(restriction.column, problem)
        self._word_comparisons += len(self._free_text)
        if self._word_comparisons > MAX_COMPARISONS:
            most = MAX_COMPARISONS // len(self._free_text)
            raise FilterFault(restriction.column, f"must have at most {most} words that are not of a field")
        pieces = ("", *joined(restriction.path).pieces, "")
        return conditions.Or(tuple(Matches(Field(name), pieces, ignore_case=True) for name in self._free_text))

    def _operand(self, restriction: Restriction) -> Field | Member:
        words = [value.text for value in restriction.path]
        for length in range(min(len(words), self._names.max_parts), 0, -1):
            name = self._names.find(words[:length])
            if name is None:
                continue
            if length == len(words):
                return Field(name)
            rest = restriction.path[length:]
            if self._fields[name].type is FieldType.MAP and (len(rest) == 1 or not any(v.quoted for v in rest)):
                return Member(name, joined(rest).text)
            raise FilterFault(rest[0].column, f"{name} has nothing below it")
        unknown = shown(joined(restriction.path).text)
        raise FilterFault(restriction.column, self._names.unknown(unknown))
