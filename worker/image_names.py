"""Names of images as an engine understands them: which registry, which repository, whether two are the same. Pure.

The rules are those of the distribution project's reference grammar, as engines apply them: the first component
is a host only where it holds `.` or `:` or is `localhost`; without one it is Docker Hub, where a name of one
component is in `library`; without a tag it is `latest`; where there is a digest, a tag says nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

HUB = "docker.io"
#: Docker Hub's other name, which engines take for the same.
_HUB_ALIAS = "index.docker.io"
_LATEST = "latest"


def registry_of(image_ref: str) -> str:
    """The registry's host (and port) of a reference, `docker.io` where it names none."""
    first, slash, _ = image_ref.partition("/")
    if slash and ("." in first or ":" in first or first == "localhost"):
        return HUB if first == _HUB_ALIAS else first
    return HUB


def repository_of(image_ref: str) -> str:
    """A reference's registry and repository, without tag and digest: one spelling for all that mean the same."""
    name = image_ref.partition("@")[0]
    head, slash, last = name.rpartition("/")
    name = head + slash + last.partition(":")[0]
    registry = registry_of(name)
    path = name
    if registry != HUB or name.startswith((f"{HUB}/", f"{_HUB_ALIAS}/")):
        path = name.partition("/")[2]
    return f"{registry}/library/{path}" if registry == HUB and "/" not in path else f"{registry}/{path}"


def is_named(image_ref: str, inspected: Mapping[str, Any]) -> bool:
    """Whether the image that an engine found for a reference has that name.

    Engines also look a name up as the beginning of an image's id, so that `imageRef: abc` could be anybody's
    image. A whole id (`sha256:…`) is never a user's, and is taken as it is.
    """
    if image_ref.startswith("sha256:"):
        return True
    repository, (_, at, digest) = repository_of(image_ref), image_ref.partition("@")
    if at:
        known = ((name, name.partition("@")[2]) for name in inspected.get("RepoDigests") or ())
        return any(found == digest and repository_of(name) == repository for name, found in known)
    tags = inspected.get("RepoTags") or ()
    return any(_tag_of(name) == _tag_of(image_ref) and repository_of(name) == repository for name in tags)


def _tag_of(image_ref: str) -> str:
    return image_ref.rpartition("/")[2].partition(":")[2] or _LATEST
