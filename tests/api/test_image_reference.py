"""The image reference grammar, by examples and by construction."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.batch_jobs.image_reference import ImageReference, InvalidReference, parse_image_reference

SHA = "sha256:" + "0a" * 32


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("alpine", ("", "alpine", "", "")),
        ("alpine:3.20", ("", "alpine", "3.20", "")),
        ("library/alpine:Latest_1", ("", "library/alpine", "Latest_1", "")),
        (f"alpine@{SHA}", ("", "alpine", "", SHA)),
        (f"localhost:5000/a/b__c:v1@{SHA}", ("localhost:5000", "a/b__c", "v1", SHA)),
        ("localhost/a", ("localhost", "a", "", "")),
        ("Registry.Example/a---b/c.d", ("Registry.Example", "a---b/c.d", "", "")),
        ("[2001:db8::1]:5000/a", ("[2001:db8::1]:5000", "a", "", "")),
        ("a" * 255 + ":t", ("", "a" * 255, "t", "")),
        ("host/a:5000", ("", "host/a", "5000", "")),
        ("a:" + "t" * 128, ("", "a", "t" * 128, "")),
    ],
)
def test_parse_image_reference_of_a_valid_one_gives_its_parts(text: str, parts: tuple[str, ...]) -> None:
    assert parse_image_reference(text) == ImageReference(*parts)


@pytest.mark.parametrize(
    "text",
    [
        *("", " ", " a", "a ", "a b", "a\n", "A", "Team/tool", "a/B", "a//b", "/a", "a/", "a:", ":t", "a@"),
        *("a..b", "../a", "a/../b", ".a", "a.", "a_", "a___b", "-a", "a$(x)", "a;b", "a|b", "a`b`", "a&b"),
        *("https://host/a", "-host.x/a", "host.x:port/a", "host.x/", "a:.t", "a:-t", "a:t:u", "a:" + "t" * 129),
        *("a@sha256:0a", "a@md5:" + "0" * 32, f"a@{SHA.upper()}", f"a@{SHA}@{SHA}", "@" + SHA),
        *("a" * 256, "0a" * 32, "ä", "a:ä", "a>b"),
    ],
)
def test_parse_image_reference_of_an_invalid_one_is_refused(text: str) -> None:
    with pytest.raises(InvalidReference):
        parse_image_reference(text)


_COMPONENT = st.from_regex(r"[a-z0-9]{1,8}((\.|_|__|-{1,3})[a-z0-9]{1,8}){0,2}", fullmatch=True)
_HOST = st.sampled_from(["", "localhost", "localhost:5000", "quay.example", "10.0.0.1:80"])
_TAG = st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,20}", fullmatch=True) | st.just("")


@given(_HOST, st.lists(_COMPONENT, min_size=1, max_size=4), _TAG, st.sampled_from(["", SHA]))
def test_parse_image_reference_of_parts_put_together_gives_them_back(
    host: str, components: list[str], tag: str, digest: str
) -> None:
    path = "/".join(components)
    # Without a host, a first component that looks like one is one.
    if not host and len(components) > 1 and ("." in components[0] or components[0] == "localhost"):
        host, path = components[0], "/".join(components[1:])
        if "_" in host or "-." in host or ".-" in host:
            return
    text = "/".join(filter(None, [host, path])) + (tag and f":{tag}") + (digest and f"@{digest}")
    assert parse_image_reference(text) == ImageReference(host, path, tag, digest)


@given(st.text(max_size=60))
def test_parse_image_reference_of_any_text_answers_or_refuses(text: str) -> None:
    try:
        parts = parse_image_reference(text)
    except InvalidReference:
        return
    assert parts.path in text and parts.path == parts.path.lower() and text == text.strip()
