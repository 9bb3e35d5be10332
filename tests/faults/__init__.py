"""Processes killed, the broker emptied: what must hold all the same."""
