"""Who may use a pool and who may assume a role, over HTTP. Pairs are made and deleted, never changed."""

from __future__ import annotations

from fastapi import APIRouter

from api.bindings import pool_routes, role_routes

router = APIRouter(prefix="/v1/accounts/{account_id}", tags=["bindings"])
router.include_router(pool_routes.router)
router.include_router(role_routes.router)
