"""API keys over HTTP: under the account, and in the reference's form under each user."""

from __future__ import annotations

from fastapi import APIRouter

from api.api_keys import of_user_routes, routes

router = APIRouter(prefix="/v1/accounts/{account_id}", tags=["API keys"])
router.include_router(routes.router)
router.include_router(of_user_routes.router)
