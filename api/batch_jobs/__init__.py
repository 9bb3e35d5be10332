"""Batch jobs over HTTP: the resource's router. Schemas in and out, rules and routes are beside it."""

from __future__ import annotations

from fastapi import APIRouter

from api.batch_jobs import (
    create_routes,
    file_routes,
    history_routes,
    log_download_routes,
    log_routes,
    log_stream_routes,
    output_routes,
    routes,
    usage_routes,
    watch_routes,
)

router = APIRouter(prefix="/v1/accounts/{account_id}", tags=["batch jobs"])
# `batchJobs/{job_id}` matches `batchJobs/x:getLogs` too, so the longer paths come first.
router.include_router(create_routes.router)
router.include_router(watch_routes.router)
router.include_router(output_routes.router)
router.include_router(history_routes.router)
router.include_router(usage_routes.router)
router.include_router(log_routes.router)
router.include_router(file_routes.router)
router.include_router(log_stream_routes.router)
router.include_router(log_download_routes.router)
router.include_router(routes.router)
