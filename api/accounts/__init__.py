"""Accounts over HTTP: made and bounded by the operator's admins, described by their own."""

from __future__ import annotations

from api.accounts.routes import router

__all__ = ["router"]
