"""Images on a fake engine, and the registries that it pulls from, as values. Pure.

Names are normalised as engines do: Docker Hub and `library/` where no registry is named, `latest` without a tag.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from tests.lab.fake_engine.behaviour import Behaviour, Refusal
from tests.lab.fake_engine.shell import PROGRAMS

BUSYBOX_PATHS = frozenset({"/", "/bin", "/tmp", "/bin/busybox", *(f"/bin/{name}" for name in PROGRAMS)})


@dataclass(frozen=True)
class ImageName:
    """A reference taken apart. `shown` is how the engine writes the repository (Hub's prefix left out)."""

    registry: str
    path: str
    tag: str
    digest: str

    @property
    def shown(self) -> str:
        if self.registry == "docker.io":
            return self.path.removeprefix("library/")
        return f"{self.registry}/{self.path}"

    @property
    def key(self) -> str:
        """One spelling for all that mean the same."""
        end = f"@{self.digest}" if self.digest else f":{self.tag}"
        return f"{self.registry}/{self.path}{end}"


def parsed_name(reference: str, tag: str = "") -> ImageName:
    """A reference as the pull call has it: the tag may come apart, and be a digest."""
    rest, _, digest = reference.partition("@")
    if tag.startswith("sha256:"):
        digest, tag = tag, ""
    first, slash, others = rest.partition("/")
    if slash and ("." in first or ":" in first or first == "localhost"):
        registry, rest = first, others
    else:
        registry = "docker.io"
    head, slash, last = rest.rpartition("/")
    last, _, own_tag = last.partition(":")
    path = head + slash + last
    if registry == "docker.io" and "/" not in path:
        path = f"library/{path}"
    return ImageName(registry, path, tag or own_tag or "latest", digest)


@dataclass(frozen=True)
class FakeImage:
    """`behaviour` is that of its containers, whatever their command; None: the command is read."""

    reference: str
    entrypoint: tuple[str, ...] = ()
    command: tuple[str, ...] = ()
    platform: str = "linux/amd64"
    paths: Collection[str] = BUSYBOX_PATHS
    behaviour: Behaviour | None = None

    @property
    def image_id(self) -> str:
        """Two names of one content would share it; here each reference is content of its own."""
        return "sha256:" + hashlib.sha256(self.reference.encode()).hexdigest()

    @property
    def digest(self) -> str:
        """Of its manifest in a registry."""
        return "sha256:" + hashlib.sha256(b"manifest " + self.reference.encode()).hexdigest()


@dataclass
class StoredImage:
    """An image on one engine: the names that it has there."""

    image: FakeImage
    tags: list[str] = field(default_factory=list)
    digests: list[str] = field(default_factory=list)

    def inspected(self) -> dict[str, Any]:
        """As GET /images/{name}/json answers."""
        system, _, architecture = self.image.platform.partition("/")
        return {
            "Id": self.image.image_id,
            "RepoTags": self.tags,
            "RepoDigests": self.digests,
            "Parent": "",
            "Created": "2026-01-01T00:00:00Z",
            "Config": {
                "Entrypoint": list(self.image.entrypoint) or None,
                "Cmd": list(self.image.command) or None,
                "Env": None,
                "Labels": None,
            },
            "Architecture": architecture,
            "Os": system,
            "Size": 1_984_132,
            "VirtualSize": 1_984_132,
            "RootFS": {"Type": "layers", "Layers": [self.image.digest]},
        }


class ImageStore:
    """The images of one engine."""

    def __init__(self) -> None:
        self._by_id: dict[str, StoredImage] = {}
        self._by_name: dict[str, str] = {}

    def add(self, image: FakeImage) -> None:
        """As an import or a build does: it has a tag, and no digest that a registry knows."""
        self._stored(image, image.reference)

    def add_pulled(self, image: FakeImage, name: ImageName) -> bool:
        """As a pull does; whether it is new under that name."""
        is_new = name.key not in self._by_name
        stored = self._stored(image, "" if name.digest else f"{name.shown}:{name.tag}")
        digest = f"{name.shown}@{image.digest}"
        if digest not in stored.digests:
            stored.digests.append(digest)
        self._by_name[parsed_name(digest).key] = image.image_id
        return is_new

    def _stored(self, image: FakeImage, tag: str) -> StoredImage:
        stored = self._by_id.setdefault(image.image_id, StoredImage(image))
        if tag and tag not in stored.tags:
            stored.tags.append(tag)
            self._by_name[parsed_name(tag).key] = image.image_id
        return stored

    def find(self, reference: str) -> StoredImage | None:
        """By name, by digest, or by the beginning of an id."""
        if reference.startswith("sha256:") and reference in self._by_id:
            return self._by_id[reference]
        known = self._by_name.get(parsed_name(reference).key)
        if known is not None:
            return self._by_id[known]
        begins = [each for each in self._by_id if each.startswith(f"sha256:{reference.removeprefix('sha256:')}")]
        return self._by_id[begins[0]] if len(begins) == 1 and reference else None

    def tag(self, reference: str, repository: str, tag: str) -> StoredImage | None:
        """Give an image another name; None where there is none."""
        stored = self.find(reference)
        if stored is not None:
            name = parsed_name(repository, tag)
            self._stored(stored.image, f"{name.shown}:{name.tag}")
        return stored

    def remove(self, reference: str) -> list[dict[str, str]] | None:
        """Take a name away, and the image with its last one; what was done, or None where there is none."""
        stored = self.find(reference)
        if stored is None:
            return None
        name = parsed_name(reference)
        gone = [tag for tag in stored.tags if parsed_name(tag).key == name.key]
        gone = gone or [*stored.tags]
        left = [tag for tag in stored.tags if tag not in gone]
        kept = {parsed_name(tag).shown for tag in left}
        lost = [digest for digest in stored.digests if parsed_name(digest).shown not in kept]
        for each in (*gone, *lost):
            self._by_name.pop(parsed_name(each).key, None)
        stored.tags, stored.digests = left, [digest for digest in stored.digests if digest not in lost]
        done = [{"Untagged": each} for each in (*gone, *lost)]
        if not stored.tags:
            del self._by_id[stored.image.image_id]
            done.append({"Deleted": stored.image.image_id})
        return done

    def all(self) -> list[StoredImage]:
        """Every image."""
        return list(self._by_id.values())


@dataclass(frozen=True)
class RemoteImage:
    """What a registry does about an image: layers of so many bytes in so many seconds, or why not.

    `refusal` comes before anything else; `error` in the stream, after half of the layers; `stalls` after that
    half too, and for ever. `password` is what a pull must show.
    """

    image: FakeImage
    layers: tuple[int, ...] = (1 << 20,)
    seconds: float = 0.0
    refusal: Refusal | None = None
    error: str = ""
    stalls: bool = False
    password: str = ""


RATE_LIMITED = Refusal(
    500,
    "toomanyrequests: You have reached your pull rate limit. You may increase the limit by authenticating and"
    " upgrading: https://www.docker.com/increase-rate-limit",
)
BROKEN_REGISTRY = Refusal(500, "received unexpected HTTP status: 503 Service Unavailable")
UNAUTHORIZED = Refusal(500, "unauthorized: authentication required")
NO_PLATFORM = "no matching manifest for linux/amd64 in the manifest list entries"


class FakeRegistries:
    """Every registry there is, by the names of their images. `hosts` answer; others refuse connections."""

    def __init__(self) -> None:
        self._remotes: dict[str, RemoteImage] = {}
        self.hosts: set[str] = {"docker.io"}

    def publish(self, remote: RemoteImage) -> str:
        """Offer an image under its reference, and by its digest; the reference."""
        name = parsed_name(remote.image.reference)
        self.hosts.add(name.registry)
        self._remotes[name.key] = remote
        self._remotes[parsed_name(f"{name.shown}@{remote.image.digest}").key] = remote
        return remote.image.reference

    def answer(self, name: ImageName, headers: Mapping[str, str]) -> RemoteImage | Refusal:
        """What the registry has under a name for whoever shows these headers."""
        if name.registry not in self.hosts:
            why = f"dial tcp {name.registry}: connect: connection refused"
            return Refusal(500, f'Get "http://{name.registry}/v2/": {why}')
        remote = self._remotes.get(name.key)
        if remote is None:
            asked = name.digest or name.tag
            if name.registry == "docker.io":
                return Refusal(
                    404,
                    f"pull access denied for {name.shown}, repository does not exist or may require"
                    " 'docker login': denied: requested access to the resource is denied",
                )
            return Refusal(404, f"manifest for {name.shown}:{asked} not found: manifest unknown: manifest unknown")
        if remote.refusal is not None:
            return remote.refusal
        if remote.password:
            shown = _password(headers)
            if not shown:
                where = f"http://{name.registry}/v2/{name.path}/manifests/{name.digest or name.tag}"
                return Refusal(500, f'Head "{where}": no basic auth credentials')
            if shown != remote.password:
                return UNAUTHORIZED
        return remote


def _password(headers: Mapping[str, str]) -> str:
    told = headers.get("x-registry-auth", "")
    try:
        said = orjson.loads(base64.urlsafe_b64decode(told + "=" * (-len(told) % 4)))
    except ValueError:
        return ""
    return str(said.get("password", "")) if isinstance(said, dict) else ""
