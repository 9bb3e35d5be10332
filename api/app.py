"""The application: its parts opened and closed, its routers put together. No route lives here."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from anyio.to_thread import current_default_thread_limiter
from fastapi import FastAPI

from api import batch_jobs, health
from api.dependencies import Platform
from api.errors import UnexpectedErrors, install_errors
from api.request_body import BodyLimit
from core.database import Database
from core.queue import Bell, make_celery
from core.settings import Settings

#: Requests served at the same time by one process. Each holds at most one connection, so that nobody waits
#: for a connection that another waiting thread holds back.
THREADS = 16


def create_app(settings: Settings) -> FastAPI:
    """The API over these settings; nothing is opened before the application starts."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        current_default_thread_limiter().total_tokens = THREADS
        database = Database(settings.database_url, pool_size=THREADS)
        bell = Bell(make_celery(settings.broker_url))
        app.state.platform = Platform(settings, database, bell)
        try:
            yield
        finally:
            bell.close()
            database.close()

    app = FastAPI(
        title="Longshore",
        summary="Batch jobs on Docker hosts; the Batch Jobs API of Fireworks.",
        lifespan=lifespan,
        # The documentation pages would load their scripts from elsewhere; the schema itself is served.
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    install_errors(app)
    app.add_middleware(BodyLimit, max_bytes=settings.max_body_bytes)
    app.add_middleware(UnexpectedErrors)
    app.include_router(health.router)
    app.include_router(batch_jobs.router)
    return app
