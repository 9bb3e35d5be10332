"""What a filter says, as parsed: no names looked up, no values read. Columns are 1-based, and not compared."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Value:
    """A word or a quoted string; `pieces` are what its wildcards (`*`) stand between, at least one."""

    pieces: tuple[str, ...]
    quoted: bool = False
    column: int = field(default=0, compare=False)

    @property
    def text(self) -> str:
        """With its wildcards as stars."""
        return "*".join(self.pieces)


def joined(path: tuple[Value, ...]) -> Value:
    """The path as one value, its dots a part of the text: `com.example` where no path is meant."""
    pieces = list(path[0].pieces)
    for value in path[1:]:
        pieces[-1] += f".{value.pieces[0]}"
        pieces += value.pieces[1:]
    return Value(tuple(pieces), any(value.quoted for value in path), path[0].column)


@dataclass(frozen=True)
class Restriction:
    """`path comparator argument`; or, with neither of the latter, words to look for."""

    path: tuple[Value, ...]
    comparator: str = ""
    argument: Value | Tree | None = None
    column: int = field(default=0, compare=False)


@dataclass(frozen=True)
class And:
    """Two or more parts, with AND or only a space between them."""

    parts: tuple[Tree, ...]


@dataclass(frozen=True)
class Or:
    """Two or more parts; binds tighter than And."""

    parts: tuple[Tree, ...]


@dataclass(frozen=True)
class Not:
    part: Tree


Tree = Restriction | And | Or | Not
