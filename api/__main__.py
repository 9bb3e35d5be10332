"""`python -m api`: serve until SIGTERM; requests under way are finished."""

from __future__ import annotations

import uvicorn

from core.event_log import configure_logging
from core.settings import load_settings

_FINISH_SECONDS = 10


def main() -> None:
    """Serve on the host and port of the settings."""
    configure_logging()
    settings = load_settings()
    uvicorn.run(
        "api.app:application",
        factory=True,
        # Started by a parent that starts them again, where there are several.
        workers=settings.api_processes,
        host=settings.api_host,
        port=settings.api_port,
        access_log=False,
        log_config=None,
        server_header=False,
        timeout_graceful_shutdown=_FINISH_SECONDS,
    )


if __name__ == "__main__":
    main()
