"""The only judge: what the four records of a run say about the invariants. Runs offline, knows no platform.

The legal moves are written here once more, by hand: a judge that borrowed them from the accused would never find
that they have changed.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.faults.harness.evidence import Evidence, RankKey, rank_of
from tests.faults.harness.journal import Entry

#: The longest that a gang may be seen with some of its ranks running and others not.
GANG_SECONDS = 30.0
_ENDED = {"COMPLETED", "FAILED", "CANCELLED"}
#: What an engine says of ends that it has not seen.
_UNKNOWN_EXIT = 255
#: Connections that are kept for the next call: of the load's client, of engines, of the database.
_POOLED_DESCRIPTORS = 100
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


@dataclass(frozen=True)
class Finding:
    """One thing that must not be. `kind` is missed, extra, leaked or illegal."""

    kind: str
    invariant: str
    what: str

    def __str__(self) -> str:
        return f"{self.kind:8} {self.invariant}  {self.what}"


def check(evidence: Evidence) -> list[Finding]:
    """Everything that is wrong, all invariants together."""
    rules = (
        none_lost,
        none_twice,
        none_leaked,
        gangs_whole,
        gangs_end_together,
        started_in_time,
        states_true,
        output_whole,
        recovered,
        within_slots,
        answered,
        isolated,
        let_go,
    )
    return [finding for rule in rules for finding in rule(evidence)]


def check_folder(folder: Path) -> list[Finding]:
    """`check` of a run's folder."""
    return check(Evidence.of(folder))


def none_lost(evidence: Evidence) -> Iterator[Finding]:
    """I1: what was answered 2xx is there, and has ended as it must; what is there was asked for, once a key."""
    jobs = {row["batch_job_id"]: row for row in evidence.rows["job"]}
    internal = {row["id"]: row["batch_job_id"] for row in evidence.rows["job"]}
    keys = {row["key"]: internal.get(row["job_id"], "") for row in evidence.rows["key"]}
    explained: set[str] = set()
    for made in evidence.creations.values():
        explained |= made.ids
        if len(made.ids) > 1:
            yield Finding("extra", "I1", f"key {made.key} was answered with {sorted(made.ids)}")
        for job_id in made.ids - jobs.keys() - evidence.deleted:
            yield Finding("missed", "I1", f"job {job_id} was accepted and there is no row")
        if not made.ids and made.open_calls and keys.get(made.key):
            explained.add(keys[made.key])
        for job_id in made.ids & jobs.keys():
            yield from _ended_as_expected(jobs[job_id], made.expect.get("states", ()))
    for job_id in jobs.keys() - explained:
        yield Finding("extra", "I1", f"job {job_id} has a row and nobody asked for it")
    for job_id, row in jobs.items():
        if row["state"] not in _ENDED:
            yield Finding("missed", "I1", f"job {job_id} is {row['state']} at the end: {row['status']}")


def _ended_as_expected(row: Entry, states: list[str]) -> Iterator[Finding]:
    if row["state"] in _ENDED and states and row["state"] not in states:
        what = f"job {row['batch_job_id']} ended {row['state']} ({row['status']}), not {' or '.join(states)}"
        yield Finding("illegal", "I1", what)


def none_twice(evidence: Evidence) -> Iterator[Finding]:
    """I2: one container and one start for each rank of each attempt; attempts one after the other."""
    for action, invariant in (("create", "containers"), ("start", "starts")):
        seen: dict[RankKey, list[str]] = defaultdict(list)
        for event in evidence.events[action]:
            seen[rank_of(event)].append(event["container"])
        for key, containers in seen.items():
            if len(containers) > 1:
                short = [container[:12] for container in containers]
                yield Finding("extra", "I2", f"rank {_name(key)} had {len(containers)} {invariant}: {short}")
    recorded = {rank_of(row): row["container_id"] for row in evidence.rows["rank"] if row["container_id"]}
    for event in evidence.events["start"]:
        container = recorded.get(rank_of(event), event["container"])
        if container != event["container"]:
            yield Finding("extra", "I2", f"rank {_name(rank_of(event))} ran in a container that no row knows")
    known = {row["id"]: row for row in evidence.rows["job"]}
    for event in evidence.events["start"]:
        if event["job"] not in known and not evidence.deleted:
            yield Finding("extra", "I2", f"a container of job {event['job']} ran, which has no row")
    yield from _overlaps(evidence)
    yield from _attempts_too_many(evidence)


def _attempts_too_many(evidence: Evidence) -> Iterator[Finding]:
    for job in evidence.rows["job"]:
        if job["attempt"] > int(job["max_attempts"]) and not _platform_failed_one(evidence, job["id"]):
            yield Finding("extra", "I2", f"job {job['batch_job_id']} came to attempt {job['attempt']}")


def _platform_failed_one(evidence: Evidence, job_id: str) -> bool:
    """Attempts that failed before they ran are not counted against the job's own limit."""
    ran = {event["attempt"] for event in evidence.events["start"] if event["job"] == job_id}
    attempts = {row["attempt"] for row in evidence.rows["rank"] if row["job_id"] == job_id}
    return bool(attempts - ran)


def _overlaps(evidence: Evidence) -> Iterator[Finding]:
    ends = {
        # What ended while an engine was away it does not tell later, but has in the container's own record.
        row["container_id"]: row["ended_ns"]
        for row in evidence.rows["rank"]
        if row["node"] in evidence.unheard and row["ended_ns"] is not None
    }
    ends |= {event["container"]: event["at_ns"] for event in evidence.events["die"]}
    lives: dict[str, dict[int, list[tuple[int, float]]]] = defaultdict(lambda: defaultdict(list))
    for event in evidence.events["start"]:
        life = (event["at_ns"], ends.get(event["container"], float("inf")))
        lives[event["job"]][event["attempt"]].append(life)
    for job, attempts in lives.items():
        for attempt in sorted(attempts)[1:]:
            earlier = [end for before in attempts if before < attempt for _, end in attempts[before]]
            if max(earlier) > min(begun for begun, _ in attempts[attempt]):
                yield Finding(
                    "extra", "I2", f"attempt {attempt} of job {job} began before an earlier one had ended"
                )


def none_leaked(evidence: Evidence) -> Iterator[Finding]:
    """I3: at rest no container, network or volume bears our label, and no slot or address block is held."""
    for final in evidence.final:
        if "unreachable" in final:
            yield Finding("leaked", "I3", f"engine {final['engine']} could not be asked: {final['unreachable']}")
        for sort in ("containers", "networks", "volumes"):
            for name in final.get(sort, ()):
                yield Finding("leaked", "I3", f"{sort[:-1]} {name} is left on engine {final['engine']}")
    if not evidence.final:
        yield Finding("leaked", "I3", "the witness has no final listing")
    for row in evidence.rows["rank"]:
        if row["node"] is not None and not row["released"]:
            yield Finding(
                "leaked", "I3", f"rank {_name(rank_of(row))}, {row['state']}, holds a slot of {row['node']}"
            )
    for row in evidence.rows["network"]:
        yield Finding("leaked", "I3", f"attempt {row['attempt']} of job {row['job_id']} holds an address block")


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


def started_in_time(evidence: Evidence) -> Iterator[Finding]:
    """I7: no job has waited longer for its start than the fault allows, where it says so."""
    allowed = evidence.limit("start_seconds")
    for row in evidence.rows["job"] if allowed is not None else ():
        if row["waited_seconds"] is not None and row["waited_seconds"] > allowed:
            what = f"job {row['batch_job_id']} waited {row['waited_seconds']:.1f} s; {allowed:g} s are allowed"
            yield Finding("illegal", "I7", what)


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
            yield Finding("illegal", "I5", f"rank {_name(key)} is SUCCEEDED; the engine says {seen}")
        elif row["exit_code"] is not None and seen not in (None, row["exit_code"]):
            yield Finding("illegal", "I5", f"rank {_name(key)} has exit code {row['exit_code']}; it was {seen}")
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
                "illegal", "I5", f"rank {_name(rank_of(row))} is {row['state']}; its history says otherwise"
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
                        what = f"stream {stream} of rank {_name(key)} is not what it printed ({size} bytes stored)"
                        yield Finding("missed", "I6", what)


def recovered(evidence: Evidence) -> Iterator[Finding]:
    """I7: after each healing a new job ran within the time that the fault allows."""
    for mark in evidence.marks:
        if mark["mark"] == "recovered" and mark["seconds"] > mark["allowed_seconds"]:
            what = f"{mark['seconds']:.1f} s until a new job had run; {mark['allowed_seconds']} s are allowed"
            yield Finding("illegal", "I7", what)
        elif mark["mark"] == "broken":
            yield Finding("illegal", mark.get("invariant", "I7"), mark["why"])


def within_slots(evidence: Evidence) -> Iterator[Finding]:
    """I8: no node ever held, or ran, more ranks than it has slots."""
    told: set[str] = set()
    for sample in evidence.samples:
        for node, (held, slots) in (sample["slots"] or {}).items():
            running = sum(state == "running" for *_, state in sample["engines"].get(node) or ())
            if max(held, running) > slots and node not in told:
                told.add(node)
                yield Finding("illegal", "I8", f"node {node} held {held} and ran {running} ranks in {slots} slots")


def isolated(evidence: Evidence) -> Iterator[Finding]:
    """I9: another account was answered nothing of the load's jobs, and was answered."""
    for mark in evidence.marks:
        if mark["mark"] == "seen_by_another":
            yield Finding("illegal", "I9", f"another account was answered at {mark['path']}")
    answers = [mark["answers"] for mark in evidence.marks if mark["mark"] == "onlooker"]
    if not any(answers):
        yield Finding("illegal", "I9", "another account that looked on was never answered")


def answered(evidence: Evidence) -> Iterator[Finding]:
    """I10: whatever happens, a call is answered well, or with 503 and when to ask again, or not at all."""
    for answer in evidence.answers:
        said = f"{answer['method']} {answer['path']} was answered {answer['status']}"
        if answer["status"] > 503 or answer["status"] in (500, 501, 502):
            yield Finding("illegal", "I10", said)
        elif answer["status"] == 503 and not answer.get("retry_after"):
            yield Finding("illegal", "I10", f"{said} without Retry-After")


def let_go(evidence: Evidence) -> Iterator[Finding]:
    """I3: at rest the processes hold about as many descriptors as before the load."""
    looked = [sample["processes"] for sample in evidence.samples if sample.get("processes")]
    if len(looked) < 2:
        return
    first, last = looked[0], looked[-1]
    for name in first.keys() & last.keys():
        if not first[name] or not last[name]:
            continue
        before, after = first[name]["descriptors"], last[name]["descriptors"]
        if after > before * 1.05 + _POOLED_DESCRIPTORS:
            yield Finding("leaked", "I3", f"{name} holds {after} descriptors at rest; it held {before} before")


def _name(key: RankKey) -> str:
    return f"{key[0]}-{key[1]}-{key[2]}"
