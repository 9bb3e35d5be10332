"""Node pools and their nodes over HTTP. Schemas in and out, rules and routes are beside this."""

from __future__ import annotations

from fastapi import APIRouter

from api.node_pools import node_routes, routes

router = APIRouter(prefix="/v1/accounts/{account_id}", tags=["node pools"])
# `nodePools/{pool_id}` matches `nodePools/x:getStats` too; within each, the longer paths come first.
router.include_router(node_routes.router)
router.include_router(routes.router)
