"""The version of this code, for what outlives it: backups. A test holds it against pyproject.toml."""

from __future__ import annotations

VERSION = "0.1.0"
