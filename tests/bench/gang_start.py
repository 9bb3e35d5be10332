"""Gang start: from the POST to the start of the last rank, against the raw engine's parallel start, in one run.

    python -m tests.bench.gang_start [--ranks 2 4 8] [--rounds 5] [--image longshore-test/busybox:1]

The raw side makes the same network and the same containers (the platform's own payload), all created, then all
started, by as many threads as give the best time. Rounds take turns, because a machine's speed drifts; the ratio
is that of the medians. Skew is the time between the first rank's start and the last one's.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path

from tests.bench.raw_engine import RawEngine, engine_seconds
from tests.lab.images import BUSYBOX, ensure_busybox
from tests.lab.platform import ENGINE, Platform, wait_until
from tests.lab.servers import Servers

_THREADS = (2, 4, 8)
_COMMAND = "sleep 60"


def platform_start(platform: Platform, image: str, ranks: int) -> tuple[float, float]:
    """Seconds from sending the POST to the last rank's start, and the skew; by the engine's own times."""
    sent = time.time()
    job = platform.client.shell(_COMMAND, image=image, ranks=ranks, stopGracePeriod="0s")
    # The engine's own times are what counts. Asked 20 times a second, the API would take from the engine's
    # processors what nothing takes from them on the raw side.
    platform.client.wait_for(job["id"], lambda seen: seen["state"] == "RUNNING", every=1.0)
    started = sorted(
        engine_seconds(platform.engine.api.inspect_container(f"ls-{job['id']}-1-{rank}")["State"]["StartedAt"])
        for rank in range(ranks)
    )
    platform.client.cancel(job["id"])
    platform.client.wait_end(job["id"])
    platform.wait_at_rest()
    if ranks > 1:
        _wait_until_removed(platform, f"ls-{job['id']}-1", int(sent))
    return started[-1] - sent, started[-1] - started[0]


def _wait_until_removed(platform: Platform, network: str, since: int) -> None:
    """Return when the engine says so: it works on a removal for a while after the network is not listed any more,
    and makes the next one wait for that."""
    chosen = {"type": "network", "event": "destroy", "network": network}

    def is_told() -> bool:
        told = platform.engine.api.events(since=since, until=time.time(), filters=chosen, decode=True)
        return any(told)

    wait_until(is_told, 30, f"{network} is removed")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ranks", type=int, nargs="+", default=[2, 4, 8])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--image", default=BUSYBOX)
    options = parser.parse_args()
    ensure_busybox()
    servers = Servers()
    raw = RawEngine(ENGINE, options.image)
    with tempfile.TemporaryDirectory() as folder:
        platform = Platform(servers, Path(folder), slots=max(options.ranks))
        try:
            platform_start(platform, options.image, 2)
            for ranks in options.ranks:
                print(json.dumps(_compare(platform, raw, options.image, ranks, options.rounds)), flush=True)
        finally:
            platform.stop()
            servers.stop()


def _compare(platform: Platform, raw: RawEngine, image: str, ranks: int, rounds: int) -> dict[str, object]:
    raw_times: dict[int, list[float]] = {threads: [] for threads in _THREADS}
    ours: list[tuple[float, float]] = []
    for _ in range(rounds):
        for threads in _THREADS:
            raw_times[threads].append(raw.gang_start(_COMMAND, ranks, threads))
        ours.append(platform_start(platform, image, ranks))
    best = min(raw_times, key=lambda threads: statistics.median(raw_times[threads]))
    floor = statistics.median(raw_times[best])
    took = statistics.median(total for total, _ in ours)
    return {
        "ranks": ranks,
        "raw_ms": round(1000 * floor),
        "raw_best_threads": best,
        "platform_ms": round(1000 * took),
        "ratio": round(took / floor, 3),
        "skew_ms": round(1000 * statistics.median(skew for _, skew in ours)),
    }


if __name__ == "__main__":
    main()
