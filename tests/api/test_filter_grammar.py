"""The grammar of filters: what is read, that its text says the same, and where each fault is."""

from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from api.wire.filter_grammar.parsing import MAX_CHARACTERS, MAX_DEPTH, MAX_RESTRICTIONS, FilterFault, parse_filter
from api.wire.filter_grammar.printing import print_filter
from api.wire.filter_grammar.tree import And, Not, Or, Restriction, Tree, Value


def word(text: str) -> Value:
    return Value(tuple(text.split("*")))


def term(text: str) -> Restriction:
    return Restriction((word(text),))


A, B, C, D = map(term, "abcd")


@pytest.mark.parametrize(
    ("text", "tree"),
    [
        ("", None),
        (" \t\n", None),
        ("a", A),
        ("a b", And((A, B))),
        ("a AND b AND c", And((A, B, C))),
        ("a AND b OR c", And((A, Or((B, C))))),
        ("a b AND c d", And((And((A, B)), And((C, D))))),
        ("New York Giants OR Yankees", And((term("New"), term("York"), Or((term("Giants"), term("Yankees")))))),
        ("(a b) AND c", And((And((A, B)), C))),
        ("((a))", A),
        ("NOT a", Not(A)),
        ("NOT(a)", Not(A)),
        ("-a", Not(A)),
        ("a -b", And((A, Not(B)))),
        ("a-b", term("a-b")),
        ("-30", Not(term("30"))),
        ("NOT (a OR b)", Not(Or((A, B)))),
        ('-file:".java"', Not(Restriction((word("file"),), ":", Value((".java",), True)))),
        ("ANDROID ORDER NOTE", And((term("ANDROID"), term("ORDER"), term("NOTE")))),
        ("package=com.google", Restriction((word("package"),), "=", word("com.google"))),
        ("msg != 'hello'", Restriction((word("msg"),), "!=", Value(("hello",), True))),
        ("1 > 0", Restriction((word("1"),), ">", word("0"))),
        ("2.5 >= 2.4", Restriction((word("2"), word("5")), ">=", word("2.4"))),
        ("a<-3.5e4", Restriction((word("a"),), "<", word("-3.5e4"))),
        ("a <= -b", Restriction((word("a"),), "<=", word("-b"))),
        (
            "t > 2026-01-31T12:00:00.5+02:00",
            Restriction((word("t"),), ">", word("2026-01-31T12:00:00.5+02:00")),
        ),
        ("expr.type_map.1.type", Restriction(tuple(map(word, ["expr", "type_map", "1", "type"])))),
        ("a.AND.NOT:OR1", Restriction((word("a"), word("AND"), word("NOT")), ":", word("OR1"))),
        ('m."x.y/z":*', Restriction((word("m"), Value(("x.y/z",), True)), ":", Value(("", "")))),
        (r'a="b\"\\\*c*d"', Restriction((word("a"),), "=", Value(('b"\\*c', "d"), True))),
        (r"a='it\'s \"'", Restriction((word("a"),), "=", Value(("it's \"",), True))),
        ("a = (b OR NOT c)", Restriction((word("a"),), "=", Or((B, Not(C))))),
        ("größe = 😀", Restriction((word("größe"),), "=", word("😀"))),
        (r"a = b\n", Restriction((word("a"),), "=", word(r"b\n"))),
        ("a = %_\\%", Restriction((word("a"),), "=", word("%_\\%"))),
    ],
)
def test_parse_of_a_filter_gives_its_tree(text: str, tree: Tree | None) -> None:
    assert parse_filter(text) == tree


@pytest.mark.parametrize(
    ("text", "column", "said"),
    [
        ("a =", 4, "expected a value"),
        ("a AND", 6, "expected a field, a word"),
        ("a OR OR b", 6, "unexpected OR"),
        ("AND", 1, "unexpected AND"),
        ("a = AND", 5, "unexpected AND; expected a value"),
        ("NOT", 4, "ends too early"),
        ("NOT NOT a", 5, "unexpected NOT"),
        ("--a", 2, "unexpected -a"),
        ("a - b", 3, "unexpected -"),
        ("(a", 3, "expected"),
        ("a)", 2, "unexpected )"),
        ("()", 2, "unexpected )"),
        ("= b", 1, "unexpected ="),
        ("a == b", 4, "unexpected ="),
        ("a <> b", 4, "unexpected >"),
        ("a ! b", 3, "unexpected !"),
        ("a:b:c", 4, "quote text that holds it"),
        ("image = host:5000/x", 13, "quote text that holds it"),
        ("a . b", 3, "unexpected ."),
        ("a.", 3, "expected a name after the dot"),
        ("a. = b", 2, "unexpected ."),
        (".a", 1, "unexpected ."),
        ("a..b", 3, "expected a name after the dot"),
        ("a, b", 2, "unexpected ,"),
        ('a = "b', 5, "not closed"),
        ("it's", 3, "not closed"),
        (r'a = "\n"', 6, r"in quotes \ goes before"),
        (r'a = "x\"', 5, "not closed"),
        ('"a""b"', 4, "expected a space"),
        ("(a)(b)", 4, "expected a space"),
        ("f(x)", 1, "functions are not served"),
        ("a = g.f(x, (y))", 5, "functions are not served"),
        ("a and b", 3, "write AND in capitals"),
        ("Not a", 1, "write NOT in capitals"),
        ("a\0b", 2, "NUL"),
        ("a = '\ud800'", 6, "surrogate"),
        ("(" * 500, MAX_DEPTH + 1, "nested"),
        ("(" * 500 + "a" + ")" * 500, MAX_DEPTH + 1, "nested"),
        ("x" * 100_000, MAX_CHARACTERS + 1, "at most 4,096"),
        ("a " * (MAX_RESTRICTIONS + 1), 2 * MAX_RESTRICTIONS + 1, "at most 200 terms"),
    ],
)
def test_parse_of_what_is_no_filter_says_where_and_why(text: str, column: int, said: str) -> None:
    with pytest.raises(FilterFault) as caught:
        parse_filter(text)
    assert caught.value.column == column and said in str(caught.value), str(caught.value)


@pytest.mark.parametrize("text", ["(" * MAX_DEPTH + "a" + ")" * MAX_DEPTH, "a " * MAX_RESTRICTIONS])
def test_parse_at_the_limits_is_served(text: str) -> None:
    assert parse_filter(text) is not None


_HOSTILE = [*'-"\\()!', "a.", "a ", "a OR ", "'a", '"\\', "a.b", "x=", "(a", "2026-01-01T00:", "a("]


@pytest.mark.parametrize("unit", _HOSTILE)
def test_parse_of_a_long_hostile_text_is_quick(unit: str) -> None:
    parse_filter("warm")
    begun = time.thread_time()
    for text in (unit * (MAX_CHARACTERS // len(unit)), "a=" + unit * ((MAX_CHARACTERS - 2) // len(unit))):
        try:
            parse_filter(text)
        except FilterFault as fault:
            assert 1 <= fault.column <= MAX_CHARACTERS + 1
    assert time.thread_time() - begun < 10, "it backtracks"


# --- any tree is its text

_WORD_CHARACTERS = st.characters(exclude_categories=["Cs"], exclude_characters="\"'(),.:=<>!-\0").filter(
    lambda letter: not letter.isspace()
)
_WORDS = (
    st.text(_WORD_CHARACTERS, min_size=1, max_size=4)
    .filter(lambda text: text.upper() not in ("AND", "OR", "NOT"))
    .map(word)
)
_QUOTED = st.lists(
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=4), min_size=1, max_size=3
).map(lambda pieces: Value(tuple(pieces), True))
_PATHS = st.tuples(_WORDS | _QUOTED) | st.tuples(_WORDS | _QUOTED, _WORDS | _QUOTED | st.just(word("AND")))
_BARE_ARGUMENTS = st.sampled_from(["-3", "-1.5e3", "2026-01-01T00:00:00.5Z", "a.b", "-a.b", "com.x.AND"]).map(word)
_ARGUMENTS = _WORDS | _QUOTED | _BARE_ARGUMENTS
_COMPARATORS = st.sampled_from(["=", "!=", "<", "<=", ">", ">=", ":"])
_LEAVES = st.builds(Restriction, _PATHS) | st.builds(Restriction, _PATHS, _COMPARATORS, _ARGUMENTS)


def _compound(parts: st.SearchStrategy[Tree]) -> st.SearchStrategy[Tree]:
    several = st.lists(parts, min_size=2, max_size=4).map(tuple)
    return st.one_of(
        st.builds(And, several),
        st.builds(Or, several),
        st.builds(Not, parts),
        st.builds(Restriction, _PATHS, _COMPARATORS, parts),
    )


_TREES: st.SearchStrategy[Tree] = st.recursive(_LEAVES, _compound, max_leaves=12)


@settings(max_examples=500, deadline=None)
@given(tree=_TREES)
def test_print_of_a_tree_parses_to_the_same_tree(tree: Tree) -> None:
    text = print_filter(tree)
    if len(text) <= MAX_CHARACTERS:
        assert parse_filter(text) == tree, text
        assert print_filter(parse_filter(text)) == text


@settings(max_examples=500, deadline=None)
@given(
    text=st.text(max_size=60)
    | st.text("ab01.:=<>!-*()\"'\\, \t", max_size=60)
    | st.lists(st.sampled_from([*'a()=:-."', "AND", "OR", "NOT"]), max_size=20).map(" ".join)
)
def test_parse_of_any_text_is_a_tree_or_a_fault_with_a_column(text: str) -> None:
    try:
        tree = parse_filter(text)
    except FilterFault as fault:
        assert 1 <= fault.column <= len(text) + 1 and fault.problem
    else:
        assert parse_filter(print_filter(tree)) == tree
