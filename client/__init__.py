"""The Python client and the command line: speaks HTTP and nothing else. Nothing is in it yet; the room and
its import law are here so that nothing else moves in."""
