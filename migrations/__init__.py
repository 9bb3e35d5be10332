"""Alembic's migrations of the one database. `python -m migrations` brings it to the newest revision."""
