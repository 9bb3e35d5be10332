"""Rules of annotations and labels, whose keys have the syntax of Kubernetes and one reserved prefix each. Pure.

A key is `[prefix/]name`: the prefix a DNS subdomain (RFC 1123), the name of `[A-Za-z0-9._-]` beginning and
ending alphanumeric. As in Kubernetes, a prefix is compared without regard to case.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping

from api.wire.proto_json import key_path
from core.errors import FieldViolation

RESERVED_PREFIX = "fireworks.ai"
MAX_TOTAL_BYTES = 256 << 10
#: Every scheduling pass reads the labels of all nodes and of the jobs that wait, and names those that are missing.
MAX_LABELS = 32
MAX_LABEL_CHARACTERS = 63
_RESERVED_LABELS = "longshore"
_MAX_PREFIX = 253
_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,61}[A-Za-z0-9])?", re.ASCII)
_LABEL = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?", re.ASCII)


def annotation_violations(annotations: Mapping[str, str]) -> Iterator[FieldViolation]:
    """Every key that is not one, and the size of them all."""
    yield from key_violations("annotations", annotations, reserved=RESERVED_PREFIX)
    total = sum(len(key.encode()) + len(value.encode()) for key, value in annotations.items())
    if total > MAX_TOTAL_BYTES:
        yield FieldViolation("annotations", f"all keys and values must be of at most {MAX_TOTAL_BYTES:,} bytes")


def label_violations(path: str, labels: Mapping[str, str]) -> Iterator[FieldViolation]:
    """What is wrong with the labels at `path`: a pool's, a node's, or those that a job's nodes are to have."""
    yield from key_violations(path, labels, reserved=_RESERVED_LABELS)
    if any(len(value) > MAX_LABEL_CHARACTERS for value in labels.values()):
        yield FieldViolation(path, f"every value must be of at most {MAX_LABEL_CHARACTERS} characters")
    if len(labels) > MAX_LABELS:
        yield FieldViolation(path, f"must be at most {MAX_LABELS}, not {len(labels)}")


def key_violations(path: str, keys: Iterable[str], *, reserved: str) -> Iterator[FieldViolation]:
    """Every key of the map at `path` that is not one, or whose prefix is the reserved one."""
    for key in keys:
        fault = _key_fault(key, reserved)
        if fault:
            yield FieldViolation(key_path(path, key), fault)


def _key_fault(key: str, reserved: str) -> str:
    prefix, slash, name = key.rpartition("/")
    if slash and not _is_subdomain(prefix.lower()):
        return f"the part before / must be a DNS subdomain of at most {_MAX_PREFIX} characters"
    if prefix.lower() == reserved:
        return f"the prefix {reserved}/ is reserved"
    if _NAME.fullmatch(name) is None:
        return "the name must be of at most 63 of A-Z a-z 0-9 . _ -, its first and last a letter or digit"
    return ""


def _is_subdomain(prefix: str) -> bool:
    return len(prefix) <= _MAX_PREFIX and all(_LABEL.fullmatch(label) for label in prefix.split("."))
