"""Core on a real Postgres."""
