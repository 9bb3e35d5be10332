"""Which names mean the same repository, and whether an engine's find is what was asked for."""

from __future__ import annotations

from typing import Any

import pytest

from worker.image_names import is_named, registry_of, repository_of

DIGEST = "sha256:" + "a" * 64


@pytest.mark.parametrize(
    ("reference", "repository"),
    [
        ("busybox", "docker.io/library/busybox"),
        ("busybox:1", "docker.io/library/busybox"),
        ("docker.io/busybox", "docker.io/library/busybox"),
        ("docker.io/library/busybox:1", "docker.io/library/busybox"),
        ("index.docker.io/team/app", "docker.io/team/app"),
        ("team/app:1", "docker.io/team/app"),
        (f"team/app@{DIGEST}", "docker.io/team/app"),
        (f"r.example:5000/a/b/c:1.2@{DIGEST}", "r.example:5000/a/b/c"),
        ("r.example:5000/app", "r.example:5000/app"),
        ("localhost/app:1", "localhost/app"),
        ("[::1]:5000/app:1", "[::1]:5000/app"),
    ],
)
def test_repository_of_a_reference_has_one_spelling(reference: str, repository: str) -> None:
    assert repository_of(reference) == repository
    assert registry_of(reference) == repository.partition("/")[0]
    assert repository_of(repository) == repository


@pytest.mark.parametrize(
    ("reference", "named"),
    [
        ("busybox:1", True),
        ("docker.io/library/busybox:1", True),
        ("busybox", False),
        ("busybox:2", False),
        ("team/busybox:1", False),
        ("r.example/app", True),
        ("r.example/app:latest", True),
        (f"busybox@{DIGEST}", True),
        (f"busybox:gone@{DIGEST}", True),
        (f"r.example/app@{DIGEST}", False),
        (f"busybox@{DIGEST[:-1]}b", False),
        ("cafe12", False),
        ("cafe12:latest", False),
        ("sha256:cafe12", True),
    ],
)
def test_find_is_what_was_asked_for_only_under_its_own_name(reference: str, named: bool) -> None:
    found: dict[str, Any] = {
        "Id": "sha256:cafe12",
        "RepoTags": ["busybox:1", "r.example/app:latest"],
        "RepoDigests": [f"busybox@{DIGEST}"],
    }
    assert is_named(reference, found) is named
    assert is_named(reference, {"RepoTags": None, "RepoDigests": None}) is reference.startswith("sha256:")
