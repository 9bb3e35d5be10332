"""Users of an account over HTTP: the resource's router. Their keys are `api.api_keys`."""

from __future__ import annotations

from api.users.routes import router

__all__ = ["router"]
