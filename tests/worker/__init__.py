"""The worker, mostly its pure parts; what needs an engine is in `tests.system`."""
