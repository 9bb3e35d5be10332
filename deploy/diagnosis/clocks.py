"""Clocks: the database's against this host's, and each engine's against the database's.

The platform's own times are the database's, so that no skew breaks it; it shows in logs, in certificates that are
not valid yet, in tokens of registries, and to whoever compares what two hosts say.
"""

from __future__ import annotations

import time

from client.findings import Finding, fault, ok, warning, worst
from core.diagnosis import NodeSigns, clock_ahead_seconds
from deploy.diagnosis.engine import of_other_engines
from deploy.diagnosis.engine_answers import EngineAnswers
from deploy.diagnosis.site import Site
from worker.docker_engine.facts import engine_time

#: Log lines of two hosts are in the wrong order from the first on, certificates fail from the second on.
_WARNING_SECONDS, _FAULT_SECONDS = 2.0, 30.0
_CURE = "set both clocks by NTP: `sudo timedatectl set-ntp true` on each host, or `chronyc makestep` at once"


def database_clock(site: Site) -> Finding:
    """The database's clock against this host's."""
    return _judged("the database's clock", clock_ahead_seconds(site.database), "this host's")


def engine_clocks(site: Site) -> Finding:
    """The clocks of the engines against the database's."""
    base = clock_ahead_seconds(site.database)
    own = _judged(
        f"the clock of the engine at {site.engine_endpoint}", _ahead(site.engine) - base, "the database's"
    )

    def judge(node: NodeSigns, answers: EngineAnswers) -> Finding:
        return _judged(f"the clock of node {node.full_name}", _ahead(answers) - base, "the database's")

    others = of_other_engines(site, judge, "agree", tell_silent=False)
    return worst([own, others] if others.cure else [own])


def _ahead(engine: EngineAnswers) -> float:
    """By how much an engine's clock is before this host's. To be asked, an engine may have to start something."""
    found: list[tuple[float, float]] = []
    for _ in range(2):
        began, before = time.monotonic(), time.time()
        theirs = engine_time(engine.ask_time())
        took = time.monotonic() - began
        if theirs is not None:
            found.append((took, theirs.timestamp() - (before + took / 2)))
    return min(found)[1] if found else 0.0


def _judged(whose: str, seconds: float, than: str) -> Finding:
    if abs(seconds) < _WARNING_SECONDS:
        return ok(f"{whose} agrees with {than} (to {abs(seconds):.1f} s)")
    said = f"{whose} is {abs(seconds):.0f} s {'ahead of' if seconds > 0 else 'behind'} {than}"
    return (fault if abs(seconds) >= _FAULT_SECONDS else warning)(said, _CURE)
