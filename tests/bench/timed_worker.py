"""The worker as it is, with a line of figures for each round of a scheduling pass: `timed_worker <file.csv>`.

A line has the candidates looked at, the placements planned and those reserved, and the milliseconds of the
snapshot, the plan, the reservation, and the writing down of why the others wait.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from core.event_log import configure_logging
from core.settings import load_settings
from worker import scheduler
from worker.app import run_worker

COLUMNS = ("candidates", "planned", "reserved", "snapshot_ms", "plan_ms", "reserve_ms", "waiting_ms")
_STEPS = ("take_snapshot", "plan_pass", "place", "write_waiting")


def measure_passes(path: Path) -> None:
    """Stand around the four steps of `worker.scheduler`, and note how long each takes."""
    here = threading.local()
    file = path.open("a", buffering=1)

    def timed(name: str, step: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            began = time.perf_counter()
            result = step(*args, **kwargs)
            taken = (time.perf_counter() - began) * 1000
            if name == "take_snapshot":
                here.figures, here.times = [len(result.waiting)], []
            elif name == "plan_pass":
                here.figures.append(len(result.placements))
            elif name == "place":
                here.figures.append(len({order.job_id for order in result}))
            here.times.append(taken)
            if name == "write_waiting":
                file.write(",".join([*map(str, here.figures), *(f"{each:.2f}" for each in here.times)]) + "\n")
            return result

        return call

    for name in _STEPS:
        setattr(scheduler, name, timed(name, getattr(scheduler, name)))


def main() -> None:
    """Serve as `python -m worker run` does."""
    configure_logging()
    measure_passes(Path(sys.argv[1]))
    run_worker(load_settings())


if __name__ == "__main__":
    main()
