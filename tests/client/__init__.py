"""The Python client and the command line, on a served API; nothing of ours is replaced."""
