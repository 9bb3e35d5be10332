"""`python -m worker run | supervise | beat`: which of the worker's processes this is."""

from __future__ import annotations

import argparse

from core.event_log import configure_logging
from core.settings import load_settings
from core.tracing import configure_tracing
from worker.app import run_beat, run_worker
from worker.descriptor_limit import raise_descriptor_limit
from worker.measures import serve_measures
from worker.supervisor.process import run_supervisor


def main() -> None:
    """Run one process until it is told to end."""
    parser = argparse.ArgumentParser(prog="python -m worker", description=__doc__)
    parser.add_argument("process", choices=["run", "supervise", "beat"])
    process = parser.parse_args().process
    configure_logging()
    configure_tracing({"run": "worker", "supervise": "supervisor"}.get(process, process))
    raise_descriptor_limit()
    settings = load_settings()
    match process:
        case "run":
            serve_measures(settings.metrics_host, settings.worker_metrics_port)
            run_worker(settings)
        case "supervise":
            serve_measures(settings.metrics_host, settings.supervisor_metrics_port)
            run_supervisor(settings)
        case _:
            run_beat(settings)


if __name__ == "__main__":
    main()
