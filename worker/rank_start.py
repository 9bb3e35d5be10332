"""The start of one rank's container, by whoever holds the rank: once, whatever has been tried before."""

from __future__ import annotations

from datetime import UTC, datetime

from core.errors import CommandNotStarted, ContainerGone, EngineError, NodeUnreachable, StartInDoubt
from worker.engine import Engine, Observation
from worker.secret_variables import SHELL
from worker.step_lease import StepLease


def start_once(
    engine: Engine, container: str, secrets: bytes | None, held: StepLease, *, looked_at: bool
) -> datetime | EngineError | None:
    """Start a container; when it was started, why it could not be, or None where nobody knows yet.

    `secrets` is unpacked into it first. Whoever starts it does that: until then there is nothing in it.
    `looked_at`: its first starter died or is slow, and starting an ended container would run it twice.
    """
    try:
        if looked_at:
            seen = engine.observe(container)
            if seen is None:
                return ContainerGone("its container vanished before it was started")
            if seen.status != "created":
                return seen.started_at
            if _may_have_run(engine, seen):
                return StartInDoubt("its engine was restarted meanwhile, and whether it ran is not known")
        if secrets is not None:
            if not engine.has_path(container, SHELL):
                return CommandNotStarted(f"the image has no {SHELL}, which sets secretEnvVars")
            engine.unpack(container, secrets)
        held.require()
        engine.start(container)
    except NodeUnreachable:
        return None
    except EngineError as error:
        return error
    return datetime.now(UTC)


def _may_have_run(engine: Engine, seen: Observation) -> bool:
    """Whether a container that its engine calls created may have run all the same. An engine notes a start when
    the program runs already: one that dies in between forgets it, and would run the program again."""
    began = engine.started_at()
    return began is not None and seen.created_at is not None and seen.created_at < began
