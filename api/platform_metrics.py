"""The platform's figures as Prometheus metrics. Pure: what is read, when and for whom is `api.metrics`'s.

Gauges are what there is now. `_total` and histograms are counted in rows since the platform was made: every api
process says the same, so they are not to be added up over instances (`max by`, not `sum`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric

from core.figures import Due, Figures, NodeFigures, Waiting
from core.states import JOB_LIVE, RankState
from core.tallies import BOUNDS, Durations, Tallies

_NODE = ("pool", "node")
NODE_STATES = ("READY", "DRAINING", "DOWN", "WITHHELD")


#: Why jobs fail for what the platform or its hosts did, as an alert counts it (`LongshorePlatformFailsJobs`).
WATCHED_REASONS = ("NODE_LOST", "ENGINE_RESTARTED", "ENGINE_ERROR", "CONTAINER_VANISHED", "NAME_TAKEN")


def figures_metrics(figures: Figures) -> Iterator[Metric]:
    """All metrics of what the rows say."""
    yield _by("longshore_jobs", "Jobs that have not ended, by state.", "state", _zeroed(JOB_LIVE, figures.jobs))
    yield _one("longshore_jobs_kept", "Jobs that there are, ended ones too.", figures.jobs_kept)
    ranks = _zeroed(RankState, figures.ranks)
    yield _by("longshore_ranks", "Ranks that wait, or whose container may be there, by state.", "state", ranks)
    yield from _queue(figures.waiting)
    yield from _nodes(figures.nodes)
    yield from _due(figures.due)
    yield from _stores(figures)
    yield from _tallies(figures.tallies)


def rings_metrics(waiting: Mapping[str, int] | None) -> Iterator[Metric]:
    """What the broker holds; None where it does not answer."""
    yield _one("longshore_broker_up", "1 where the broker answers the API.", int(waiting is not None))
    yield _by("longshore_rings_waiting", "Messages that no worker has taken yet.", "queue", waiting or {})


def up_metrics(*, is_up: bool, age_seconds: float) -> Iterator[Metric]:
    """Whether the figures could be read, and how old they are."""
    yield _one("longshore_figures_up", "1 where the database told the platform's figures.", int(is_up))
    yield _one("longshore_figures_age_seconds", "They are kept for some seconds.", age_seconds)


def _queue(waiting: Iterable[Waiting]) -> Iterator[Metric]:
    labels = ("pool", "reason", "priority")
    jobs = GaugeMetricFamily("longshore_queue_jobs", "Jobs that wait for their turn.", labels=labels)
    ranks = GaugeMetricFamily("longshore_queue_ranks", "Their ranks.", labels=labels)
    oldest = GaugeMetricFamily(
        "longshore_queue_oldest_seconds", "How long the first of them has waited.", labels=labels
    )
    for each in waiting:
        of = (each.pool, each.reason, each.priority)
        jobs.add_metric(of, each.jobs)
        ranks.add_metric(of, each.ranks)
        oldest.add_metric(of, each.oldest_seconds)
    yield from (jobs, ranks, oldest)


def _nodes(nodes: Iterable[NodeFigures]) -> Iterator[Metric]:
    slots = GaugeMetricFamily("longshore_node_slots", "Ranks that may be on it at a time.", labels=_NODE)
    held = GaugeMetricFamily(
        "longshore_node_slots_held",
        "Slots that are not free: reserved (placed, not running yet), running, ending.",
        labels=(*_NODE, "phase"),
    )
    state = GaugeMetricFamily(
        "longshore_node_state",
        "1 for the state that it is in; WITHHELD: its engine answers and it takes nothing new.",
        labels=(*_NODE, "state"),
    )
    silent = GaugeMetricFamily("longshore_node_silent_seconds", "Since its engine last answered.", labels=_NODE)
    disk = GaugeMetricFamily("longshore_node_free_disk_bytes", "Where that is known.", labels=_NODE)
    watched = GaugeMetricFamily("longshore_node_watched", "1 where a supervisor holds it.", labels=_NODE)
    for node in nodes:
        of = (node.pool, node.name)
        slots.add_metric(of, node.slots)
        watched.add_metric(of, int(node.is_held))
        for phase, count in node.held.items():
            held.add_metric((*of, phase), count)
        for each in NODE_STATES:
            state.add_metric((*of, each), int(each == node.state))
        if node.silent_seconds is not None:
            silent.add_metric(of, node.silent_seconds)
        if node.free_disk_bytes is not None:
            disk.add_metric(of, node.free_disk_bytes)
    yield from (slots, held, state, silent, disk, watched)


def _due(due: Mapping[str, Due]) -> Iterator[Metric]:
    yield _by(
        "longshore_steps_due",
        "Steps that are due and that nobody holds, by rows; launches that wait for an image among them.",
        "step",
        {step: each.count for step, each in due.items()},
    )
    yield _by(
        "longshore_steps_due_oldest_seconds",
        "Since the first of them was placed, or was to be stopped.",
        "step",
        {step: each.oldest_seconds for step, each in due.items()},
    )


def _stores(figures: Figures) -> Iterator[Metric]:
    yield _by(
        "longshore_image_pulls",
        "Pulls that are wanted now, and those of the last hour that failed.",
        "state",
        {"wanted": figures.pulls_wanted, "failed": figures.pulls_failed},
    )
    yield _one("longshore_image_pull_oldest_seconds", "Of those wanted.", figures.oldest_pull_seconds)
    yield _one("longshore_object_store_bytes", "That what ended attempts left takes there.", figures.object_bytes)
    yield _one("longshore_doomed_folders", "Folders whose objects are to be removed.", figures.doomed_folders)
    yield _one("longshore_doomed_oldest_seconds", "Of those.", figures.oldest_doomed_seconds)
    yield _one("longshore_log_table_bytes", "Disk that output in the database takes.", figures.log_table_bytes)
    yield _one("longshore_database_bytes", "Disk that the database takes.", figures.database_bytes)


def _tallies(tallies: Tallies) -> Iterator[Metric]:
    yield _histogram(
        "longshore_scheduling_seconds", "From a job's turn being possible to its room.", tallies.scheduling
    )
    yield _histogram(
        "longshore_dispatch_seconds",
        "From a job's room to its last rank's start, pulls included.",
        tallies.dispatch,
    )
    ended = CounterMetricFamily(
        "longshore_jobs_ended", "Jobs that came to an end, by its state and reason.", labels=("state", "reason")
    )
    # Alerts count how many more there are of these: a series that begins with the first failures tells of none.
    watched = dict.fromkeys((("FAILED", reason) for reason in WATCHED_REASONS), 0)
    for (state, reason), count in sorted({**watched, **tallies.ended}.items()):
        ended.add_metric((state, reason), count)
    yield ended


def _histogram(name: str, help_text: str, durations: Durations) -> Metric:
    family = HistogramMetricFamily(name, help_text)
    bounds = sorted({*BOUNDS, *durations.counts} - {float("inf")})
    total, buckets = 0, []
    for bound in [*bounds, float("inf")]:
        total += durations.counts.get(bound, 0)
        buckets.append(("+Inf" if bound == float("inf") else repr(bound), total))
    family.add_metric((), buckets, durations.sum_seconds)
    return family


def _one(name: str, help_text: str, value: float) -> Metric:
    return GaugeMetricFamily(name, help_text, value=value)


def _by(name: str, help_text: str, label: str, values: Mapping[str, float]) -> Metric:
    family = GaugeMetricFamily(name, help_text, labels=(label,))
    for value, number in values.items():
        family.add_metric((value,), number)
    return family


def _zeroed(states: Iterable[str], counts: Mapping[str, int]) -> dict[str, int]:
    """With a 0 for each state that nothing is in: what is absent cannot be compared with."""
    return {**{str(state): 0 for state in sorted(states)}, **counts}
