"""I4, I5, I6: gangs that run and end together, states that are true, output that is whole.

The legal moves are written here once more, by hand: a judge that borrowed them from the accused would never find
that they have changed.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from tests.faults.harness.evidence import Evidence, RankKey, rank_of
from tests.faults.harness.finding import Finding, name_of
from tests.faults.harness.journal import Entry

#: The longest that a gang may be seen with some of its ranks running and others not.
GANG_SECONDS = 30.0
_ENDED = {"COMPLETED", "FAILED", "CANCELLED"}
#: What an engine says of ends that it has not seen.
_UNKNOWN_EXIT = 255
#: Of a rank that did not end by itself; it has printed what it had time for.
_ENGINE_RESTARTED = "ENGINE_RESTARTED"
_RANK_ENDED = {"SUCCEEDED", "FAILED", "STOPPED", "LOST"}
_JOB_MOVES = {
    ("", "QUEUED"), ("QUEUED", "PENDING"), ("PENDING", "RUNNING"), ("RUNNING", "COMPLETED"),
    ("QUEUED", "FAILED"), ("PENDING", "FAILED"), ("RUNNING", "FAILED"),
    ("QUEUED", "CANCELLED"), ("PENDING", "CANCELLING"), ("RUNNING", "CANCELLING"), ("CANCELLING", "CANCELLED"),
    ("PENDING", "QUEUED"), ("RUNNING", "QUEUED"),
}  # fmt: skip
_RANK_MOVES = {
    ("", "PLACED"), ("PLACED", "CREATING"), ("CREATING", "CREATING"), ("CREATING", "PLACED"),
    ("CREATING", "CREATED"), ("CREATED", "STARTING"), ("STARTING", "STARTING"), ("STARTING", "RUNNING"),
    ("", "STOPPED"), ("", "FAILED"),
    *((live, end) for live in ("PLACED", "CREATING", "CREATED") for end in ("STOPPED", "FAILED", "LOST")),
    *((live, end) for live in ("STARTING", "RUNNING") for end in _RANK_ENDED),
}  # fmt: skip


def gangs_whole(evidence: Evidence) -> Iterator[Finding]:
    """I4: no gang is seen in part for long. Time in which the platform was kept from acting does not count."""
    sizes = {row["id"]: row["num_ranks"] for row in evidence.rows["job"]}
    outages = evidence.outages()
    since: dict[tuple[str, int], float] = {}
    told: set[tuple[str, int]] = set()
    for sample in evidence.samples:
        running = _running_ranks(sample)
        if running is None:
            continue
        partial = {gang for gang, count in running.items() if 0 < count < sizes.get(gang[0], count)}
        since = {gang: since.get(gang, float(sample["at"])) for gang in partial}
        for gang, begun in since.items():
            seconds = _outside(outages, begun, sample["at"])
            if seconds > GANG_SECONDS and gang not in told:
                told.add(gang)
                yield Finding(
                    "illegal", "I4", f"attempt {gang[1]} of job {gang[0]} ran in part for {seconds:.0f} s"
                )


def gangs_end_together(evidence: Evidence) -> Iterator[Finding]:
    """I4: when a rank of a gang has failed, the others are gone within their grace and a few seconds."""
    failed = {rank_of(row) for row in evidence.rows["rank"] if row["state"] == "FAILED"}
    allowed = evidence.limit("gang_end_seconds")
    ends: dict[tuple[str, int], list[tuple[float, bool]]] = defaultdict(list)
    for event in evidence.events["die"]:
        key = rank_of(event)
        ends[key[:2]].append((event["at_ns"] / 1e9, key in failed and event["exit"] != 0))
    for (job, attempt), found in ends.items():
        first = min((at for at, has_failed in found if has_failed), default=None)
        if first is None or allowed is None:
            continue
        seconds = _outside(evidence.outages(), first, max(at for at, _ in found))
        if seconds > allowed:
            what = f"attempt {attempt} of job {job} ran on for {seconds:.1f} s after a rank had failed"
            yield Finding("illegal", "I4", f"{what}; {allowed:g} s are allowed")


def _running_ranks(sample: Entry) -> dict[tuple[str, int], int] | None:
    found: dict[tuple[str, int], int] = defaultdict(int)
    for containers in sample["engines"].values():
        if containers is None:
            return None
        for job, attempt, _, state in containers:
            found[(job, attempt)] += state in ("running", "paused")
    return found


def _outside(outages: list[tuple[float, float]], begun: float, end: float) -> float:
    """Seconds of a stretch in which no outage was."""
    return end - begun - sum(max(0.0, min(end, until) - max(begun, since)) for since, until in outages)


def states_true(evidence: Evidence) -> Iterator[Finding]:
    """I5: legal paths, ends that stay, exit codes as witnessed, and success only where every rank exited 0."""
    yield from _paths(evidence)
    yield from _ends_that_changed(evidence)
    exits = _exits(evidence)
    for row in evidence.rows["rank"]:
        key, seen = rank_of(row), exits.get(rank_of(row))
        if row["state"] == "SUCCEEDED" and seen != 0:
            yield Finding("illegal", "I5", f"rank {name_of(key)} is SUCCEEDED; the engine says {seen}")
        elif row["exit_code"] is not None and seen not in (None, row["exit_code"]):
            yield Finding("illegal", "I5", f"rank {name_of(key)} has exit code {row['exit_code']}; it was {seen}")
    # Told to end by an engine that was stopped, a program may well exit 0; that is no success. Nor is an exit that
    # came to light when the rank had been given up for lost, and the others stopped for it.
    not_their_own = {
        row["job_id"]
        for row in evidence.rows["rank"]
        if row.get("reason") == _ENGINE_RESTARTED or row["state"] == "LOST"
    }
    for job in evidence.rows["job"]:
        codes = [exits.get((job["id"], job["attempt"], rank)) for rank in range(job["num_ranks"])]
        whole = all(code == 0 for code in codes)
        if job["state"] == "COMPLETED" and not whole:
            yield Finding("illegal", "I5", f"job {job['batch_job_id']} is COMPLETED; its ranks exited {codes}")
        if job["state"] == "FAILED" and whole and job["id"] not in not_their_own:
            yield Finding("illegal", "I5", f"job {job['batch_job_id']} is FAILED; every rank exited 0")


def _exits(evidence: Evidence) -> dict[RankKey, int | None]:
    """Exit codes as witnessed. What ended while an engine was away it does not tell later, or says 255: there the
    row is believed, and the end that the job had to come to (I1) is what judges it."""
    exits: dict[RankKey, int | None] = {rank_of(event): event["exit"] for event in evidence.events["die"]}
    for row in evidence.rows["rank"]:
        if row["node"] in evidence.unheard and exits.get(rank_of(row)) in (None, _UNKNOWN_EXIT):
            exits[rank_of(row)] = row["exit_code"]
    return exits


def _paths(evidence: Evidence) -> Iterator[Finding]:
    at: dict[tuple[str, int | None, int | None], str] = {}
    for event in evidence.rows["event"]:
        of_rank = event["rank"] is not None
        key = (event["job_id"], event["attempt"] if of_rank else None, event["rank"])
        move = (at.get(key, ""), event["state"])
        if move not in (_RANK_MOVES if of_rank else _JOB_MOVES) and move[1] != "DELETING":
            yield Finding("illegal", "I5", f"{key} moved from {move[0] or 'nothing'} to {move[1]}")
        at[key] = event["state"]
    for job in evidence.rows["job"]:
        if at.get((job["id"], None, None)) != job["state"]:
            yield Finding(
                "illegal", "I5", f"job {job['batch_job_id']} is {job['state']}, which its history does not say"
            )
    for row in evidence.rows["rank"]:
        if at.get(rank_of(row), "WAITING") != row["state"]:
            yield Finding(
                "illegal", "I5", f"rank {name_of(rank_of(row))} is {row['state']}; its history says otherwise"
            )


def _ends_that_changed(evidence: Evidence) -> Iterator[Finding]:
    ended: dict[str, str] = {}
    told: set[str] = set()
    final = [{"states": {row["id"]: [row["state"], row["attempt"]] for row in evidence.rows["job"]}}]
    for sample in [*evidence.samples, *final]:
        for job, (state, _) in (sample["states"] or {}).items():
            if ended.setdefault(job, state if state in _ENDED else "") not in ("", state) and job not in told:
                told.add(job)
                yield Finding("illegal", "I5", f"job {job} had ended {ended[job]} and was {state} later")
            ended[job] = ended[job] or (state if state in _ENDED else "")


def output_whole(evidence: Evidence) -> Iterator[Finding]:
    """I6: every byte that a rank printed that ended by itself, in order, once."""
    internal = {row["batch_job_id"]: row for row in evidence.rows["job"]}
    ranks = {rank_of(row): row for row in evidence.rows["rank"]}
    stored = {(*rank_of(row), row["stream"]): row for row in evidence.rows["output"]}
    for made in evidence.creations.values():
        for job_id in made.ids & internal.keys():
            job = internal[job_id]
            for rank, streams in made.expect.get("output", {}).items():
                key = (job["id"], job["attempt"], int(rank))
                row = ranks.get(key)
                if row is None or row["state"] not in ("SUCCEEDED", "FAILED") or row["exit_code"] is None:
                    continue
                if row.get("reason") == _ENGINE_RESTARTED:
                    continue
                for stream, digest in streams.items():
                    found = stored.get((*key, int(stream)))
                    if found is None or found["sha256"] != digest:
                        size = found["bytes"] if found else 0
                        what = f"stream {stream} of rank {name_of(key)} is not what it printed ({size} bytes kept)"
                        yield Finding("missed", "I6", what)
