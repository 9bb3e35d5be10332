"""Secrets over HTTP: a value goes in and is never answered. Schemas and routes are beside it."""

from __future__ import annotations

from api.secrets.routes import router

__all__ = ["router"]
