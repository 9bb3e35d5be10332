"""The short calls over docker-py, for Celery steps. One client per engine is shared by all threads."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from typing import Any

import docker
import requests
from docker.errors import APIError, DockerException, NotFound
from docker.tls import TLSConfig
from docker.transport import UnixHTTPAdapter
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection

from core.errors import EngineError, ImagePlatformMismatch, NameTaken, NodeUnreachable
from worker.docker_engine.facts import DEFAULT_BRIDGE, command_of, digest_of, engine_time, observation, user_of
from worker.docker_engine.faults import call_fault
from worker.docker_engine.payload import container_payload, network_payload
from worker.docker_engine.transport import FORGETS_WHEN_CLOSED, EngineAccess, ssh_tunnel, tls_files
from worker.engine import ContainerSpec, ImageFacts, NetworkSpec, Observation
from worker.image_names import is_named
from worker.measures import engine_call

#: A worker of a thousand engines keeps so many open to each of them.
_KEPT_CONNECTIONS = 4
#: As docker-py calls them: engines that are reached by a socket.
_SOCKETS = "http+docker://"
_CONNECT_SECONDS = 5.0
_GREETING_SECONDS = 15.0
#: How long another process may take to make the network that we were refused.
_NETWORK_SECONDS = 2.0
_NETWORK_KNOWN_SECONDS = 10.0
_IMAGE_KNOWN_SECONDS = 2.0
#: How long a container may take to be seen whose name is taken already.
_APPEARS_SECONDS = 5.0
_LOOK_SECONDS = 0.05


class _OnePool(UnixHTTPAdapter):
    """docker-py's way to a socket, with one pool of connections.

    Its own keeps a pool for every URL: hardly any connection is ever used twice, and dozens are kept.
    """

    def get_connection(self, url: str | bytes, proxies: Mapping[str, str] | None = None) -> Any:
        del url
        return super().get_connection(_SOCKETS, proxies)


class _Forgetting(HTTPAdapter):
    """The way to an engine over TCP: what is given up is given up on the way too."""

    def init_poolmanager(self, connections: int, maxsize: int, block: bool = False, **more: Any) -> None:
        options = [*HTTPConnection.default_socket_options, FORGETS_WHEN_CLOSED]
        super().init_poolmanager(connections, maxsize, block, socket_options=options, **more)


class _Client(docker.APIClient):
    """docker-py's client, kept from what the process's environment says of proxies and authorities.

    `requests` puts REQUESTS_CA_BUNDLE and CURL_CA_BUNDLE before the authority that a session was given.
    """

    trust_env = property(lambda _: False, lambda _, __: None)

    def __init__(self, base_url: str, *, timeout: int, max_pool_size: int, **more: Any) -> None:
        super().__init__(base_url=base_url, timeout=timeout, max_pool_size=max_pool_size, **more)
        if base_url.startswith("unix://"):
            self.mount(_SOCKETS, _OnePool(f"http+{base_url}", timeout, max_pool_size=max_pool_size))
        else:
            for scheme in ("http://", "https://"):
                self.mount(scheme, _Forgetting(pool_maxsize=max_pool_size))


class DockerSteps:
    """`worker.engine.Engine` over one Docker engine. `timeout_seconds` bounds every single call."""

    def __init__(self, endpoint: str, *, timeout_seconds: float, access: EngineAccess | None = None) -> None:
        self._endpoint = endpoint
        self._tls = tls_files(endpoint, access or EngineAccess())
        self._tunnel = ssh_tunnel(endpoint, access or EngineAccess())
        self._network_lock = threading.Lock()
        #: Seen not long ago, so not asked for again for each of many jobs: until when (monotonic clock).
        self._networks: dict[str, float] = {}
        self._images: dict[str, tuple[ImageFacts, float]] = {}
        try:
            self._greet(timeout_seconds)
        except BaseException:
            self.close()
            raise

    def _greet(self, timeout_seconds: float) -> None:
        # "auto" asks the engine for its newest version: pinning one breaks on old or on new engines.
        with self._translated("connect"):
            self._api: Any = _Client(
                base_url=f"unix://{self._tunnel.socket}" if self._tunnel is not None else self._endpoint,
                version="auto",
                timeout=int(min(_GREETING_SECONDS, timeout_seconds)),
                max_pool_size=_KEPT_CONNECTIONS,
                tls=self._tls_config(),
            )
            # A host that is gone says nothing at all: whoever connects need not wait as long as for an answer.
            waits: Any = (min(_CONNECT_SECONDS, timeout_seconds), timeout_seconds)
            self._api.timeout = waits
            version = self._api.version()
        self._platform = f"{version['Os']}/{version['Arch']}"

    def close(self) -> None:
        """End the tunnel, where there is one; the client is not to be used any more."""
        if self._tunnel is not None:
            self._tunnel.close()

    def started_at(self) -> datetime | None:
        with self._translated("network"):
            try:
                return engine_time(self._api.inspect_network(DEFAULT_BRIDGE)["Created"])
            except NotFound:
                return None

    def find_image(self, reference: str) -> ImageFacts | None:
        known = self._images.get(reference)
        if known is not None and time.monotonic() < known[1]:
            return known[0]
        found = self._find_image(reference)
        if found is not None:
            self._images[reference] = (found, time.monotonic() + _IMAGE_KNOWN_SECONDS)
        return found

    def _find_image(self, reference: str) -> ImageFacts | None:
        with self._translated("image"):
            try:
                found = self._api.inspect_image(reference)
            except NotFound:
                return None
        if not is_named(reference, found):
            return None
        platform = f"{found['Os']}/{found['Architecture']}"
        if platform != self._platform:
            raise ImagePlatformMismatch(f"{reference} is made for {platform}, and this node is {self._platform}")
        return ImageFacts(found["Id"], digest_of(reference, found), command_of(found), user_of(found))

    def ensure_network(self, spec: NetworkSpec) -> None:
        # Two creates of one name at a time are refused in more than one way, and the name of the first is
        # not to be seen at once: so one at a time here, and a second look after a refusal (other processes).
        with self._network_lock, self._translated("network"):
            if time.monotonic() < self._networks.get(spec.name, 0.0):
                return
            if self._has_network(spec.name):
                if spec.isolated:  # the one that all one-rank jobs share; a gang's is asked for once anyway
                    self._networks[spec.name] = time.monotonic() + _NETWORK_KNOWN_SECONDS
                return
            try:
                self._post("/networks/create", network_payload(spec))
            except APIError:
                deadline = time.monotonic() + _NETWORK_SECONDS
                while not self._has_network(spec.name):
                    if time.monotonic() > deadline:
                        raise
                    time.sleep(_NETWORK_SECONDS / 20)

    def create(self, spec: ContainerSpec) -> str:
        name = spec.key.container_name
        with self._translated("create"):
            try:
                return str(self._api.create_container_from_config(container_payload(spec), name)["Id"])
            except (APIError, requests.exceptions.RequestException) as error:
                # The name is taken, or the reply was lost: what bears our name and our labels is our container.
                if isinstance(error, APIError) and error.status_code != 409:
                    raise
                # An engine reserves the name before the container that is to bear it can be seen.
                deadline = time.monotonic() + _APPEARS_SECONDS
                while (found := self._adopted(name, spec.labels)) is None:
                    if time.monotonic() > deadline:
                        raise
                    time.sleep(_LOOK_SECONDS)
                return found

    def has_path(self, container: str, path: str) -> bool:
        with self._translated("archive"):
            api = self._api
            url = api._url("/containers/{0}/archive", container)
            answer = api.head(url, params={"path": path}, timeout=api.timeout)
            if answer.status_code != requests.codes.not_found:
                api._raise_for_status(answer)
            return bool(answer.status_code == requests.codes.ok)

    def unpack(self, container: str, archive: bytes, folder: str = "/") -> None:
        with self._translated("archive"):
            self._api.put_archive(container, folder, archive)

    def start(self, container_id: str) -> None:
        with self._translated("start"):
            self._api.start(container_id)

    def observe(self, container: str) -> Observation | None:
        with self._translated("inspect"):
            return self._observe(container)

    def signal(self, container_id: str, signal: str) -> bool:
        with self._translated("signal"):
            try:
                self._api.kill(container_id, signal)
            except APIError as error:
                if error.status_code in (404, 409):
                    return False
                raise
        return True

    def remove(self, container: str) -> None:
        with self._translated("remove"):
            try:
                self._api.remove_container(container, v=True, force=True)
            except APIError as error:
                # 409: another removal of it is under way, which is as good.
                if error.status_code not in (404, 409):
                    raise

    def _tls_config(self) -> TLSConfig | bool:
        if self._tls is None:
            return False
        pair = (str(self._tls.certificate), str(self._tls.key))
        return TLSConfig(client_cert=pair, ca_cert=str(self._tls.authority), verify=True)

    def _has_network(self, name: str) -> bool:
        return any(found["Name"] == name for found in self._api.networks(names=[name]))

    def _adopted(self, name: str, labels: Mapping[str, str]) -> str | None:
        """The id of our container of this name; None where there is none. Raises NameTaken."""
        try:
            found = self._api.inspect_container(name)
        except NotFound:
            return None
        worn = found["Config"].get("Labels") or {}
        if any(worn.get(label) != value for label, value in labels.items()):
            raise NameTaken(f"a container that is not the platform's is called {name}; rename or remove it")
        return str(found["Id"])

    def _observe(self, container: str) -> Observation | None:
        try:
            return observation(self._api.inspect_container(container))
        except NotFound:
            return None

    def _post(self, path: str, body: dict[str, Any]) -> None:
        api = self._api
        api._raise_for_status(api._post_json(api._url(path), data=body))

    @contextmanager
    def _translated(self, what: str) -> Iterator[None]:
        with engine_call(self._endpoint, what), self._in_our_words(what):
            if self._tunnel is not None:
                self._tunnel.wait()
            yield

    @contextmanager
    def _in_our_words(self, what: str) -> Iterator[None]:
        try:
            yield
        except EngineError:
            raise
        except APIError as error:
            raise call_fault(what, error.status_code or 500, str(error.explanation or error)) from error
        except (requests.exceptions.RequestException, DockerException, OSError) as error:
            way = self._tls or self._tunnel
            if way is not None and (fault := way.fault()) is not None:
                raise NodeUnreachable(fault) from error
            raise NodeUnreachable(f"the engine at {self._endpoint} does not answer: {error}") from error
