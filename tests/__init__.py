"""Tests mirror the source; `system` goes from HTTP to containers, `faults` breaks things, `bench` measures."""
