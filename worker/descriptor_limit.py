"""How many descriptors a process may have: a few for each engine are more than a shell's usual 1,024."""

from __future__ import annotations

import resource


def raise_descriptor_limit() -> None:
    """Allow this process as many as it may allow itself."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
