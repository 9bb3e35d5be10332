"""Postgres and Valkey out of wheels, run by launchers of our own: the same two servers as in production.

Nothing in here knows Longshore's tables or queues; `deploy.up` and the tests start and stop them.
"""

from __future__ import annotations

from deploy.embedded.postgres import EmbeddedPostgres
from deploy.embedded.valkey import EmbeddedValkey

__all__ = ["EmbeddedPostgres", "EmbeddedValkey"]
