"""A list's field names in the spellings that callers may use, and what is said of a name that is not one. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import product

from api.wire.proto_json import nearest, snake_case


class FieldNames:
    """Wire names, dotted below messages; each part may be in camelCase or in snake_case."""

    def __init__(self, names: Iterable[str]) -> None:
        self._spellings: dict[str, str] = {}
        for name in names:
            parts = [dict.fromkeys((part, snake_case(part))) for part in name.split(".")]
            self._spellings |= {".".join(spelling): name for spelling in product(*parts)}
        #: Of the most deeply dotted name.
        self.max_parts = max((name.count(".") + 1 for name in self._spellings), default=0)

    def find(self, parts: Sequence[str]) -> str | None:
        """The wire name that is spelt so."""
        # A part with a dot in it was quoted, and no field's name needs that.
        return None if any("." in part for part in parts) else self._spellings.get(".".join(parts))

    def unknown(self, given: str) -> str:
        """The fault of a name that is not known: the nearest one that is, and all of them."""
        meant = nearest(given, self._spellings)
        hint = f"did you mean {meant}? there" if meant else "there"
        return f"unknown field {given}; {hint} are {self.listed()}"

    def listed(self) -> str:
        """Every name, in its order."""
        return ", ".join(dict.fromkeys(self._spellings.values()))
