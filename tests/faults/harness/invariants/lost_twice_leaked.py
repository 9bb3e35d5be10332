"""I1, I2, I3: none lost, none twice, none left."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from statistics import median

from tests.faults.harness.evidence import Evidence, RankKey, rank_of
from tests.faults.harness.finding import Finding, name_of
from tests.faults.harness.journal import Entry

_ENDED = {"COMPLETED", "FAILED", "CANCELLED"}
#: Connections that are kept for the next call: of the load's client, of engines, of the database.
_POOLED_DESCRIPTORS = 100
#: How long a process must have lived for its memory to be judged, and how much does not count.
_LIFE_SECONDS = 300.0
_SPARE_BYTES = 16 << 20


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
                yield Finding("extra", "I2", f"rank {name_of(key)} had {len(containers)} {invariant}: {short}")
    recorded = {rank_of(row): row["container_id"] for row in evidence.rows["rank"] if row["container_id"]}
    for event in evidence.events["start"]:
        container = recorded.get(rank_of(event), event["container"])
        if container != event["container"]:
            yield Finding("extra", "I2", f"rank {name_of(rank_of(event))} ran in a container that no row knows")
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
                "leaked", "I3", f"rank {name_of(rank_of(row))}, {row['state']}, holds a slot of {row['node']}"
            )
    for row in evidence.rows["network"]:
        yield Finding("leaked", "I3", f"attempt {row['attempt']} of job {row['job_id']} holds an address block")


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


def memory_flat(evidence: Evidence) -> Iterator[Finding]:
    """I3: a process that has lived for minutes has no more memory late in its life than early, by medians."""
    lives: dict[tuple[str, int], list[tuple[float, int]]] = defaultdict(list)
    for sample in evidence.samples:
        for name, held in (sample.get("processes") or {}).items():
            if held and held["resident_bytes"]:
                lives[(name, held["pid"])].append((sample["at"], held["resident_bytes"]))
    for (name, pid), life in lives.items():
        if life[-1][0] - life[0][0] < _LIFE_SECONDS:
            continue
        # The first quarter is its start: code is loaded, pools and caches fill.
        quarter = len(life) // 4
        early, late = (median(held for _, held in part) for part in (life[quarter : 2 * quarter], life[-quarter:]))
        if late > early * 1.15 + _SPARE_BYTES:
            what = f"{name} ({pid}) came to hold {late / 2**20:.0f} MiB, after {early / 2**20:.0f} MiB"
            yield Finding("leaked", "I3", what)
