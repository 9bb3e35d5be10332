"""Dispatch: one-rank jobs of `true` through the whole platform, against the raw engine, in one run.

    python -m tests.bench.dispatch [--jobs 60] [--image longshore-test/busybox:1]

Starts a platform of its own on the reachable engine. Rounds of the raw engine and of the platform take turns,
because a machine's speed drifts; the ratio is that of the medians. Added latency is from sending the POST to
the engine's own time of the container's start, less the same for a container created and started raw.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import docker

from tests.bench.raw_engine import RawEngine
from tests.lab.images import BUSYBOX, ensure_busybox
from tests.lab.platform import ENGINE, Platform, wait_until
from tests.lab.servers import Servers

_THREADS = (2, 4, 8)


class StartTimes:
    """Listens to the engine's events past the platform: when each container of an installation started."""

    def __init__(self, installation: str) -> None:
        self._seen: dict[str, float] = {}
        self._news = threading.Condition()
        self._client = docker.DockerClient(base_url=ENGINE)
        filters = {"label": f"longshore.installation={installation}", "event": "start"}
        self._events = self._client.events(decode=True, filters=filters)
        threading.Thread(target=self._listen, daemon=True).start()

    def wait(self, name: str, seconds: float = 30) -> float:
        """When the container of that name started. Nothing is polled, so that waiting costs nobody anything."""
        with self._news:
            assert self._news.wait_for(lambda: name in self._seen, seconds), f"{name} did not start"
            return self._seen[name]

    def close(self) -> None:
        self._events.close()
        self._client.close()

    def _listen(self) -> None:
        for event in self._events:
            with self._news:
                self._seen[event["Actor"]["Attributes"]["name"]] = event["timeNano"] / 1e9
                self._news.notify_all()


def platform_rate(platform: Platform, image: str, count: int) -> float:
    """Jobs per second, from the first POST until no container and no slot is in use."""
    began = time.monotonic()
    with ThreadPoolExecutor(2) as pool:
        jobs = list(pool.map(lambda _: platform.client.shell("true", image=image)["id"], range(count)))
    wait_until(lambda: unfinished(platform) == 0, 600, "every job has ended and every slot is free")
    took = time.monotonic() - began
    states = {platform.client.get(job)["state"] for job in jobs}
    assert states == {"COMPLETED"}, states
    return count / took


def unfinished(platform: Platform) -> int:
    """Jobs that have not ended, and ranks that hold a slot."""
    return int(
        platform.query(
            "SELECT (SELECT count(*) FROM jobs WHERE state NOT IN ('COMPLETED', 'FAILED', 'CANCELLED'))"
            " + (SELECT count(*) FROM ranks WHERE node_id IS NOT NULL AND released_at IS NULL)"
        )[0][0]
    )


def platform_latency(platform: Platform, starts: StartTimes, image: str) -> float:
    """Seconds from sending one POST on an idle platform to its container's start."""
    sent = time.time()
    job = platform.client.shell("true", image=image)
    started = starts.wait(f"ls-{job['id']}-1-0")
    platform.client.wait_end(job["id"])
    platform.wait_at_rest()
    return started - sent


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=60, help="containers of each round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--latencies", type=int, default=15)
    parser.add_argument("--image", default=BUSYBOX)
    options = parser.parse_args()
    ensure_busybox()
    servers = Servers()
    raw = RawEngine(ENGINE, options.image)
    with tempfile.TemporaryDirectory() as folder, raw.network():
        platform = Platform(servers, Path(folder))
        starts = StartTimes(platform.installation)
        try:
            platform_rate(platform, options.image, 4)
            raw.rate(4, 2)
            raw_rates: dict[int, list[float]] = {threads: [] for threads in _THREADS}
            rates: list[float] = []
            for _ in range(options.rounds):
                for threads in _THREADS:
                    raw_rates[threads].append(raw.rate(options.jobs, threads))
                rates.append(platform_rate(platform, options.image, options.jobs))
            raw_latencies, latencies = [], []
            for _ in range(options.latencies):
                raw_latencies.append(raw.start_latency())
                latencies.append(platform_latency(platform, starts, options.image))
        finally:
            starts.close()
            platform.stop()
            servers.stop()
    best = max(raw_rates, key=lambda threads: statistics.median(raw_rates[threads]))
    raw_rate, rate = statistics.median(raw_rates[best]), statistics.median(rates)
    added = statistics.median(latencies) - statistics.median(raw_latencies)
    print(
        json.dumps(
            {
                "jobs_per_round": options.jobs,
                "raw_per_second": {str(threads): [round(r, 2) for r in rs] for threads, rs in raw_rates.items()},
                "raw_best_threads": best,
                "platform_per_second": [round(r, 2) for r in rates],
                "ratio": round(rate / raw_rate, 3),
                "raw_start_ms_p50": round(1000 * statistics.median(raw_latencies)),
                "platform_start_ms_p50": round(1000 * statistics.median(latencies)),
                "added_ms_p50": round(1000 * added),
            },
            indent=2,
        )
    )


if __name__ == "__main__":
    main()
