"""Text to tree, by the EBNF published with AIP-160 (assets/misc/ebnf-filtering.txt), in lark's LALR(1).

Where that grammar says nothing:
- A word ends at white space and at any of `" ' ( ) , . : = < > !`; it does not begin with `-`. As an argument,
  a time (`2026-01-31T12:00:00.5Z`) and what begins with `-` need no quotes.
- In quotes `\\` goes before `\\`, `"`, `'`, and before a `*` that is no wildcard; elsewhere it is a fault.
- Functions are refused: none is served.
"""

from __future__ import annotations

import re
from functools import cache

from lark import Lark, Token
from lark import Tree as Node
from lark.exceptions import UnexpectedCharacters, UnexpectedInput, UnexpectedToken

from api.wire.filter_grammar.tree import And, Not, Or, Restriction, Tree, Value, joined

MAX_CHARACTERS = 4_096
#: Every level may hold an AND, an OR and a NOT; SQLAlchemy compiles those recursively, and gives up at 55 levels.
MAX_DEPTH = 30
MAX_RESTRICTIONS = 200

_WORD = r"""[^\s"'(),.:=<>!]"""
_KEYWORD = rf"(?:AND|OR|NOT)(?!{_WORD})"
_GRAMMAR = rf"""
filter      : [expression]
?expression : sequence (AND sequence)*
?sequence   : factor+
?factor     : term (OR term)*
?term       : simple | NOT simple -> negation | MINUS simple -> negation
?simple     : restriction | composite
composite   : LPAREN expression RPAREN
restriction : (member | function) [COMPARATOR argument]
argument    : member | function | composite | SIGNED | TIME
member      : _value (DOT _field)*
function    : CALL [argument (COMMA argument)*] RPAREN
_value      : TEXT | STRING
_field      : TEXT | STRING | AND | OR | NOT

AND.3       : /AND(?!{_WORD})/
OR.3        : /OR(?!{_WORD})/
NOT.3       : /NOT(?!{_WORD})/
TIME.2      : /\d{{4}}-\d\d-\d\d[Tt]\d\d:[^\s"'(),=<>!]*+/
SIGNED.2    : /-[^\s"'(),:=<>!]++/
CALL.2      : /(?!{_KEYWORD})(?!-){_WORD}++(?:\.{_WORD}++)*+\(/
TEXT.1      : /(?!{_KEYWORD})(?!-){_WORD}++/
STRING.1    : /"(?:[^"\\]++|\\[\s\S])*+"|'(?:[^'\\]++|\\[\s\S])*+'/
COMPARATOR  : /<=|>=|!=|[<>=:]/
MINUS       : /-(?=\S)/
DOT         : /(?<!\s)\.(?!\s)/
LPAREN      : "("
RPAREN      : ")"
COMMA       : ","
WS          : /\s+/
%ignore WS
"""

_BRACKETS = re.compile(r""""(?:[^"\\]++|\\.)*+"|'(?:[^'\\]++|\\.)*+'|[()]""", re.DOTALL)
_UNSAYABLE = re.compile("[\0\ud800-\udfff]")
_ESCAPED = re.compile(r"\\(.)|(\*)", re.DOTALL)
_ESCAPABLE = "\\\"'*"
_MISSPELT_KEYWORDS = frozenset({"and", "or", "not", "And", "Or", "Not"})

#: What may follow, for a person: said where all of the first terminals may, and none of the second.
_EXPECTED: tuple[tuple[frozenset[str], frozenset[str], str], ...] = (
    (frozenset({"TIME"}), frozenset(), "a value (quote it if it is not one word)"),
    (frozenset({"LPAREN"}), frozenset({"TIME"}), 'a field, a word, "quoted text" or ('),
    (frozenset({"NOT", "TEXT"}), frozenset({"LPAREN"}), "a name after the dot"),
    (frozenset({"COMPARATOR"}), frozenset(), "one of = != < <= > >= :"),
    (frozenset({"AND", "OR", "LPAREN"}), frozenset(), "AND, OR"),
    (frozenset({"RPAREN"}), frozenset(), ")"),
)


class FilterFault(ValueError):
    """Not a filter: why, and the 1-based column of what is wrong."""

    def __init__(self, column: int, problem: str) -> None:
        self.column = column
        self.problem = problem
        super().__init__(f"column {column}: {problem}")


def parse_filter(text: str) -> Tree | None:
    """The tree; None of an empty filter. Raises FilterFault at the first fault of syntax, or past a limit."""
    if len(text) > MAX_CHARACTERS:
        raise FilterFault(MAX_CHARACTERS + 1, f"must be of at most {MAX_CHARACTERS:,} characters")
    unsayable = _UNSAYABLE.search(text)
    if unsayable:
        raise FilterFault(unsayable.start() + 1, "must hold no NUL character and no half of a surrogate pair")
    _check_depth(text)
    try:
        root = _parser().parse(text)
    except UnexpectedInput as error:
        raise _syntax_fault(error, text) from None
    (found,) = root.children
    return _Builder(text).tree(found) if isinstance(found, Node) else None


@cache
def _parser() -> Lark:
    return Lark(
        _GRAMMAR,
        start="filter",
        parser="lalr",
        lexer="contextual",
        maybe_placeholders=True,
        propagate_positions=True,
        keep_all_tokens=True,
    )


def _check_depth(text: str) -> None:
    depth = 0
    for found in _BRACKETS.finditer(text):
        if found.group() in "()":
            depth += 1 if found.group() == "(" else -1
            if depth > MAX_DEPTH:
                raise FilterFault(found.start() + 1, f"must not be nested more than {MAX_DEPTH} deep")


class _Builder:
    """Lark's nodes to our trees. As deep as the brackets are nested, which is bounded before."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._restriction_count = 0

    def tree(self, node: Node[Token]) -> Tree:
        match node.data:
            case "composite":
                return self.tree(_nodes(node)[0])
            case "negation":
                return Not(self.tree(_nodes(node)[0]))
            case "expression":
                return And(self._parts(node))
            case "sequence":
                self._check_spaces(node)
                return And(self._parts(node))
            case "factor":
                return Or(self._parts(node))
        return self._restriction(node)

    def _parts(self, node: Node[Token]) -> tuple[Tree, ...]:
        return tuple(self.tree(part) for part in _nodes(node))

    def _check_spaces(self, sequence: Node[Token]) -> None:
        for factor in _nodes(sequence)[1:]:
            start = factor.meta.start_pos
            if not self._text[start - 1].isspace():
                raise FilterFault(start + 1, "expected a space, AND, OR or a comparator before this")

    def _restriction(self, node: Node[Token]) -> Restriction:
        column = node.meta.start_pos + 1
        self._restriction_count += 1
        if self._restriction_count > MAX_RESTRICTIONS:
            raise FilterFault(column, f"must have at most {MAX_RESTRICTIONS} terms")
        left, comparator, argument = node.children
        assert isinstance(left, Node)  # noqa: S101  # by the grammar
        path = _path(left)
        if not isinstance(argument, Node):
            if len(path) == 1 and path[0].text in _MISSPELT_KEYWORDS and not path[0].quoted:
                word = path[0].text
                raise FilterFault(column, f'write {word.upper()} in capitals, or "{word}" to look for the word')
            return Restriction(path, column=column)
        return Restriction(path, str(comparator), self._argument(argument), column)

    def _argument(self, node: Node[Token]) -> Value | Tree:
        (found,) = node.children
        if isinstance(found, Token):
            return _value(found)
        if found.data == "composite":
            return self.tree(found)
        return joined(_path(found))


def _path(node: Node[Token]) -> tuple[Value, ...]:
    if node.data == "function":
        raise FilterFault(node.meta.start_pos + 1, "functions are not served; quote text that holds a (")
    return tuple(_value(token) for token in node.children if isinstance(token, Token) and token.type != "DOT")


def _value(token: Token) -> Value:
    start = token.start_pos or 0
    if token.type != "STRING":
        return Value(tuple(token.split("*")), column=start + 1)
    pieces, last = [""], 1
    content_end = len(token) - 1
    for found in _ESCAPED.finditer(token, 1, content_end):
        pieces[-1] += token[last : found.start()]
        last = found.end()
        if found.group(2):
            pieces.append("")
        elif found.group(1) in _ESCAPABLE:
            pieces[-1] += found.group(1)
        else:
            problem = "in quotes \\ goes before \\ \" ' * only; write \\\\ for the character itself"
            raise FilterFault(start + found.start() + 1, problem)
    pieces[-1] += token[last:content_end]
    return Value(tuple(pieces), True, start + 1)


def _nodes(node: Node[Token]) -> list[Node[Token]]:
    return [child for child in node.children if isinstance(child, Node)]


def _syntax_fault(error: UnexpectedInput, text: str) -> FilterFault:
    if isinstance(error, UnexpectedToken):
        expected = set(error.accepts or error.expected)
        at_end = error.token.type == "$END"
        start = len(text) if at_end else error.token.start_pos or 0
    else:
        expected = set(error.allowed) if isinstance(error, UnexpectedCharacters) else set()
        start, at_end = error.pos_in_stream or 0, False
    if not at_end and text[start] in "\"'" and (not isinstance(error, UnexpectedToken)):
        return FilterFault(start + 1, "the quoted text is not closed")
    what = "the filter ends too early" if at_end else f"unexpected {_shown(text, start)}"
    wanted = [words for needed, barred, words in _EXPECTED if needed <= expected and not barred & expected]
    if "AND" in expected and "COMPARATOR" not in expected and text[start : start + 1] in tuple(":=<>!,"):
        what += " (quote text that holds it)"
    return FilterFault(start + 1, f"{what}; expected {' or '.join(wanted)}" if wanted else what)


def _shown(text: str, start: int) -> str:
    word = re.match(rf"{_WORD}{{1,20}}+|.", text[start:], re.DOTALL)
    return word.group() if word else ""
