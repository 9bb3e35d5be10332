"""How every process writes its log: one line per event, time, level, event, then fields."""

from __future__ import annotations

import logging

import structlog


def configure_logging() -> None:
    """Set the process's log up, once, before anything is logged.

    Tracebacks are rendered without local variables: those hold keys and users' values.
    """
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    # It warns of every connection beyond those that a pool keeps, which is what such a pool is for.
    logging.getLogger("urllib3.connectionpool").setLevel(logging.ERROR)
    structlog.configure(
        processors=[
            # What the step or the request under way is about (`request_id`, `job`), whoever logs.
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.processors.KeyValueRenderer(key_order=["timestamp", "level", "event"]),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        cache_logger_on_first_use=True,
    )
