"""Image references, parsed by the grammar of the distribution project (`distribution/reference`). Pure.

    reference := [host [":" port] "/"] path [":" tag] ["@" digest]
    path      := component ("/" component)*
    component := [a-z0-9]+ (separator [a-z0-9]+)*      separator := "." | "_" | "__" | "-"+
    host      := label ("." label)* | "[" IPv6 "]"     label := alphanumeric, "-" within
    tag       := [A-Za-z0-9_] [A-Za-z0-9_.-]{0,127}
    digest    := algorithm ":" hex

As the engine does, the first component is a host only where it holds "." or ":" or is `localhost`. The
engine also takes a first component with a capital for a host; here that is refused, as it is nearly always
a mistyped name, and a host can be written in small letters.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

#: Of host and path together, in the reference's own implementation (NameTotalLengthMax).
MAX_NAME = 255
_COMPONENT = re.compile(r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*", re.ASCII)
_LABEL = r"(?:[A-Za-z0-9]|[A-Za-z0-9][A-Za-z0-9-]*[A-Za-z0-9])"
_HOST = re.compile(rf"(?:{_LABEL}(?:\.{_LABEL})*|\[[a-fA-F0-9:]+\])(?::[0-9]+)?", re.ASCII)
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}", re.ASCII)
_IMAGE_ID = re.compile(r"[a-f0-9]{64}", re.ASCII)
#: Hex digits of the algorithms that engines verify.
_DIGEST_LENGTHS = {"sha256": 64, "sha384": 96, "sha512": 128}
_HEX = re.compile(r"[a-f0-9]+", re.ASCII)


class InvalidReference(ValueError):
    """Not an image reference; the message says what would be right."""


@dataclass(frozen=True)
class ImageReference:
    """The parts as written; "" where one is absent."""

    host: str
    path: str
    tag: str
    digest: str


def parse_image_reference(text: str) -> ImageReference:
    """The parts of a reference. Raises InvalidReference."""
    if not text.strip():
        raise InvalidReference("must not be empty; leave it out for the pool's default image")
    name, at, digest = text.partition("@")
    if at:
        _check_digest(digest)
    # A colon after the last slash begins a tag; one before it belongs to a port.
    colon = name.find(":", name.rfind("/") + 1)
    name, tag = (name, "") if colon < 0 else (name[:colon], name[colon + 1 :])
    if colon >= 0 and _TAG.fullmatch(tag) is None:
        raise InvalidReference("the tag must be of at most 128 of A-Z a-z 0-9 _ . -, not beginning with . or -")
    if len(name) > MAX_NAME:
        raise InvalidReference(f"must be of at most {MAX_NAME} characters without tag and digest")
    host, path = _split_host(name)
    for component in path.split("/"):
        if _COMPONENT.fullmatch(component) is None:
            raise InvalidReference(_component_fault(component))
    if not host and _IMAGE_ID.fullmatch(path):
        raise InvalidReference("must not be an image's id: it says nothing about where the image is")
    return ImageReference(host, path, tag, digest)


def _split_host(name: str) -> tuple[str, str]:
    first, slash, rest = name.partition("/")
    if not slash or not ("." in first or ":" in first or first == "localhost"):
        return "", name
    if _HOST.fullmatch(first) is None:
        raise InvalidReference("the part before the first / must be a host with an optional port")
    return first, rest


def _component_fault(component: str) -> str:
    if component != component.lower():
        return "the repository's name must be in lower case"
    if not component:
        return "has an empty part between slashes, or no repository name"
    return "parts of the repository's name must be of a-z and 0-9, with . or _ or __ or dashes between them"


def _check_digest(digest: str) -> None:
    algorithm, _, digits = digest.partition(":")
    length = _DIGEST_LENGTHS.get(algorithm)
    if length is None or len(digits) != length or _HEX.fullmatch(digits) is None:
        raise InvalidReference("the digest must be sha256:, sha384: or sha512: and its small hex digits")
