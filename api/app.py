"""The application: its parts opened and closed, its routers put together. No route lives here."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from anyio.to_thread import current_default_thread_limiter
from fastapi import FastAPI
from starlette.types import Scope

from api import (
    accounts,
    api_keys,
    batch_jobs,
    bindings,
    docs_page,
    health,
    metrics,
    node_pools,
    secrets,
    unserved,
    users,
)
from api.authentication import Authentication
from api.dependencies import Platform
from api.errors import UnexpectedErrors, install_errors
from api.job_watch import JobWatch
from api.log_feed import READERS, LogFeeds
from api.openapi.serving import install_openapi
from api.platform_figures import PlatformFigures
from api.readiness import Readiness
from api.request_trace import RequestTrace
from api.spent_quotas import SpentQuotas
from api.stream_limits import Streams
from api.unread_bodies import UnreadBodies
from core.database import Database
from core.event_log import configure_logging
from core.object_store import ObjectStore
from core.queue import Bell, make_celery
from core.settings import Settings, load_settings
from core.tracing import configure_tracing

#: Requests served at the same time by one process. Each holds at most one connection, so that nobody waits
#: for a connection that another waiting thread holds back.
THREADS = 16
_PROBES = frozenset({"/healthz", "/readyz", "/metrics"})
#: What asks the database beside the threads of requests: who used his key, what has become of jobs, what they have
#: printed, whether it answers, the platform's figures.
_LOOKERS = 5


def application() -> FastAPI:
    """The application of a server's process, over the settings of its environment."""
    configure_logging()
    configure_tracing("api")
    return create_app(load_settings())


def create_app(settings: Settings) -> FastAPI:
    """The API over these settings; nothing is opened before the application starts."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        current_default_thread_limiter().total_tokens = THREADS
        database = Database(settings.database_url, pool_size=THREADS + READERS + _LOOKERS)
        bell = Bell(make_celery(settings.broker_url))
        authentication = Authentication(database, settings)
        streams, watch = Streams(settings.max_streams_per_account), JobWatch(database)
        objects = ObjectStore(settings.object_store_url) if settings.object_store_url else None
        feeds = LogFeeds(database, objects)
        readiness, figures = Readiness(database, bell), PlatformFigures(database, bell)
        app.state.platform = Platform(
            settings,
            database,
            bell,
            authentication,
            streams,
            watch,
            feeds,
            objects,
            readiness,
            figures,
            SpentQuotas(),
        )
        try:
            yield
        finally:
            await watch.close()
            await feeds.close()
            readiness.close()
            figures.close()
            authentication.close()
            bell.close()
            database.close()

    app = FastAPI(
        title="Longshore",
        summary="Batch jobs on Docker hosts; the Batch Jobs API of Fireworks.",
        lifespan=lifespan,
        # Its document is not true and its pages load scripts from elsewhere: ours are installed below.
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        # Spans of requests are its own, where `core.tracing` has said where to send them; probes need none.
        telemetry={"auto_configure": False, "operation_spans": False, "exclude": _is_untraced},
    )
    install_errors(app)
    app.add_middleware(UnexpectedErrors)
    # Added last, so around all others.
    app.add_middleware(RequestTrace)
    app.add_middleware(UnreadBodies)
    # The busiest first: routes are tried in turn.
    app.include_router(batch_jobs.router)
    app.include_router(health.router)
    app.include_router(metrics.router)
    app.include_router(docs_page.router)
    app.include_router(accounts.router)
    app.include_router(users.router)
    app.include_router(api_keys.router)
    app.include_router(node_pools.router)
    app.include_router(bindings.router)
    app.include_router(unserved.router)
    app.include_router(secrets.router)
    install_openapi(app)
    return app


def _is_untraced(scope: Scope) -> bool:
    return scope.get("path") in _PROBES
