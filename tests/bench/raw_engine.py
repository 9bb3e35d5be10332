"""The floor: what one engine does with one-rank jobs of `true` when nothing stands in front of it.

The same image, the same container settings (the platform's own payload) and the same kind of network as the
platform uses; create, start, wait, remove, by as many threads as give the best rate.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from ipaddress import IPv4Network
from typing import Any

import docker

from core.jobs.launching import LaunchWork, RankLimits
from core.settings import Settings
from core.spec import JobSpec, ShellExecutor
from tests.lab.platform import free_octet
from worker.containers import container_of, network_of
from worker.docker_engine.payload import container_payload, network_payload
from worker.engine import ContainerSpec


class RawEngine:
    """Runs containers straight on the engine, labelled as an installation of its own."""

    def __init__(self, endpoint: str, image: str) -> None:
        self._api: Any = docker.APIClient(base_url=endpoint, version="auto", num_pools=64)
        self._image = image
        self._settings = Settings(
            database_url="postgresql://unused/x",
            broker_url="redis://unused",
            installation=f"bench-{secrets.token_hex(4)}",
            solo_network=IPv4Network(f"10.{free_octet(docker.DockerClient(base_url=endpoint))}.0.0/20"),
        )
        self._memory_bytes = 512 << 20

    @contextmanager
    def network(self) -> Iterator[None]:
        """The bridge that the containers share, for as long as they run."""
        spec = network_of(self._work("x"), self._settings)
        self._api._raise_for_status(
            self._api._post_json(self._api._url("/networks/create"), data=network_payload(spec))
        )
        try:
            yield
        finally:
            self._api.remove_network(spec.name)

    def rate(self, count: int, threads: int) -> float:
        """Containers per second, from the first create to the last removal."""
        began = time.monotonic()
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(lambda _: self._run(), range(count)))
        return count / (time.monotonic() - began)

    def start_latency(self) -> float:
        """Seconds from asking for a container to its start, one alone."""
        asked = time.time()
        container = self._create()
        self._api.start(container)
        self._api.wait(container)
        started = self._api.inspect_container(container)["State"]["StartedAt"]
        self._api.remove_container(container, v=True)
        return engine_seconds(started) - asked

    def gang_start(self, command: str, ranks: int, threads: int) -> float:
        """Seconds from making a gang's network to its last container's start; all are created first."""
        subnet = next(self._settings.solo_network.subnets(new_prefix=27))
        work = replace(
            self._work("g" + secrets.token_hex(7)),
            spec=JobSpec(self._image, num_ranks=ranks, executor=ShellExecutor(command)),
            ranks=tuple(range(ranks)),
            node_of_rank=(1,) * ranks,
            subnet=subnet,
        )
        network = network_of(work, self._settings)
        asked = time.time()
        self._api._raise_for_status(
            self._api._post_json(self._api._url("/networks/create"), data=network_payload(network))
        )
        with ThreadPoolExecutor(threads) as pool:
            specs = [container_of(work, rank, self._image, network, self._settings) for rank in range(ranks)]
            containers = list(pool.map(self._create_one, specs))
            list(pool.map(self._api.start, containers))
            started = max(
                engine_seconds(self._api.inspect_container(each)["State"]["StartedAt"]) for each in containers
            )
            list(pool.map(lambda each: self._api.remove_container(each, v=True, force=True), containers))
        self._api.remove_network(network.name)
        return started - asked

    def _run(self) -> None:
        container = self._create()
        self._api.start(container)
        self._api.wait(container)
        self._api.remove_container(container, v=True)

    def _create(self) -> str:
        work = self._work("b" + secrets.token_hex(7))
        return self._create_one(
            container_of(work, 0, self._image, network_of(work, self._settings), self._settings)
        )

    def _create_one(self, spec: ContainerSpec) -> str:
        name = spec.key.container_name
        return str(self._api.create_container_from_config(container_payload(spec), name)["Id"])

    def _work(self, job_id: str) -> LaunchWork:
        return LaunchWork(
            batch_job_id="raw",
            job_id=job_id,
            attempt=1,
            node_id=1,
            endpoint="",
            account="bench",
            spec=JobSpec(self._image, executor=ShellExecutor("true")),
            image_digest="",
            ranks=(0,),
            node_of_rank=(1,),
            subnet=None,
            limits=RankLimits(1.0, self._memory_bytes, 4096),
        )


def engine_seconds(stamp: str) -> float:
    """An engine's RFC 3339 time stamp in UTC as seconds since the epoch."""
    from worker.docker_engine.facts import split_time

    seconds, nanos = split_time(stamp)
    return seconds + nanos / 1e9
