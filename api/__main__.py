"""`python -m api`: serve until SIGTERM; requests under way are finished."""

from __future__ import annotations

import logging

import structlog
import uvicorn

from api.app import create_app
from core.settings import load_settings

_FINISH_SECONDS = 10


def main() -> None:
    """Serve on the host and port of the settings."""
    configure_logging()
    settings = load_settings()
    uvicorn.run(
        create_app(settings),
        host=settings.api_host,
        port=settings.api_port,
        access_log=False,
        log_config=None,
        server_header=False,
        timeout_graceful_shutdown=_FINISH_SECONDS,
    )


def configure_logging() -> None:
    """One line per event: time, level, event, fields."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.processors.KeyValueRenderer(key_order=["timestamp", "level", "event"]),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        cache_logger_on_first_use=True,
    )


if __name__ == "__main__":
    main()
