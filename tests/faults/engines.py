"""F-16 to F-21 and F-23: engines that die, hang, are cut off, lose replies, or are not heard for a while."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from tests.faults.harness.chaos import let_pass
from tests.faults.harness.engines import EnginesWanted
from tests.faults.harness.load import KnownJob, patient_job, ticking_job
from tests.faults.harness.trial import Lab, Trial

_QUICK = {"lost_after_seconds": 6, "engine_timeout_seconds": 5, "facts_seconds": 3}
RESTARTED = Lab(slots=8, engines=EnginesWanted(hosts=2))
RESTORED = Lab(slots=8, engines=EnginesWanted(hosts=1, live_restore=True))
WEDGED = Lab(slots=8, settings={"engine_timeout_seconds": 5}, engines=EnginesWanted(hosts=2))
LOST = Lab(slots=4, settings=_QUICK, engines=EnginesWanted(hosts=2))
CUT = Lab(slots=24, settings=_QUICK, engines=EnginesWanted(proxied=True))
PROXIED = Lab(slots=24, settings={"engine_timeout_seconds": 20}, engines=EnginesWanted(proxied=True))
_GRACE_SECONDS = 1.0
#: A node that does not answer must be seen to within this, and what it left must be gone as soon after its return.
_SEEN_SECONDS = 30.0


def kill_without_live_restore(trial: Trial) -> None:
    """F-16: the engine is killed; its restart ends what it ran."""
    host = trial.engines.hosts[0]
    for _ in range(trial.scale.rounds):
        # Programs that end well when they are told to: their exit code says nothing of their work.
        ends = ("FAILED", "CANCELLED")
        jobs = [trial.submit_known(patient_job(code=number % 2, states=ends)) for number in range(12)]
        trial.wait_states(jobs, {"RUNNING"}, 120)
        there = _jobs_on(trial, "local", jobs)
        assert 0 < len(there) < len(jobs), "both engines run some"
        with trial.fault("an engine without live restore killed, and back"):
            host.kill()
            trial.wait(lambda: _node(trial, "local") == "DOWN", 120, "the node is seen to be down")
            elsewhere = trial.submit(seconds=0.1)
            trial.wait_states([elsewhere], {"COMPLETED"}, 120)
            host.start_as_a_service()
        trial.wait_states(there, {"FAILED"}, 120)
        for job in there:
            state, reason, status = trial.query(
                "SELECT state, reason, status FROM jobs WHERE batch_job_id = %s", job
            )[0]
            if (state, reason) != ("FAILED", "ENGINE_RESTARTED") or "on node local" not in status:
                trial.broken("I5", f"job {job}, whose engine was restarted, is {state} {reason}: {status}")
        others = sorted(set(jobs) - set(there))
        if trial.query("SELECT count(*) FROM jobs WHERE batch_job_id = ANY(%s) AND state = 'RUNNING'", others) != [
            (len(others),)
        ]:
            trial.broken("I5", "jobs of the other engine do not run any more")
        for job in others:
            trial.client.cancel(job)
        trial.wait_states(others, {"CANCELLED"}, 60)
        trial.rounds_done += 1


def kill_with_live_restore(trial: Trial) -> None:
    """F-17: the engine is killed while ranks print; they go on, and nothing of what they print is lost."""
    host = trial.engines.hosts[0]
    away = trial.scale.pick(4, 10)
    for _ in range(trial.scale.rounds):
        ticks = int((away + 12) * 5)
        jobs = [
            trial.submit_known(ticking_job(ranks=1 + number % 2, ticks=ticks, code=7 * (number % 3 == 0)))
            for number in range(4)
        ]
        trial.wait_states(jobs, {"RUNNING"}, 120)
        before = {each.id for each in trial.platform.containers()}
        with trial.fault("an engine with live restore killed, and back"):
            host.kill()
            let_pass(away)
            host.start_as_a_service()
        after = {each.id for each in trial.platform.containers() if each.status == "running"}
        if before - after:
            trial.broken("I2", f"{len(before - after)} containers do not run any more")
        trial.wait_states(jobs, {"COMPLETED", "FAILED"}, 180)
        trial.rounds_done += 1


def wedge(trial: Trial) -> None:
    """F-18: the engine takes connections and says nothing."""
    host = trial.engines.hosts[0]
    for _ in range(trial.scale.rounds):
        jobs = [trial.submit_known(ticking_job(ticks=40)) for _ in range(8)]
        trial.wait_states(jobs, {"RUNNING", "COMPLETED"}, 120)
        with trial.fault("an engine frozen"):
            frozen_at = time.monotonic()
            host.freeze()
            try:
                trial.wait(lambda: _node(trial, "local") == "DOWN", 240, "the node is seen to be down")
                _must_be_within(trial, frozen_at, _SEEN_SECONDS, "until a frozen engine's node was DOWN")
                elsewhere = [trial.submit(seconds=0.1) for _ in range(3)]
                trial.wait_states(elsewhere, {"COMPLETED"}, 120)
                let_pass(frozen_at + trial.scale.pick(15, 90) - time.monotonic())
            finally:
                host.thaw()
        trial.wait_states(jobs, {"COMPLETED"}, 180)
        trial.rounds_done += 1


def lose_host(trial: Trial) -> None:
    """F-19: a host is gone with everything on it, under gangs that span it and another."""
    host = trial.engines.hosts[0]
    for _ in range(trial.scale.rounds):
        spanning = trial.submit_known(patient_job(ranks=6, states=("FAILED",)))
        trial.wait_states([spanning], {"RUNNING"}, 120)
        lost_at = time.monotonic()
        host.lose()
        trial.wait_states([spanning], {"FAILED"}, 240)
        allowed = _QUICK["lost_after_seconds"] + _GRACE_SECONDS + 15
        _must_be_within(trial, lost_at, allowed, "until a gang that lost a host had ended")
        ((reason, attempt),) = trial.query("SELECT reason, attempt FROM jobs WHERE batch_job_id = %s", spanning)
        if (reason, attempt) != ("NODE_LOST", 1):
            trial.broken("I5", f"a gang that lost a host ended {reason} in attempt {attempt}")
        trial.wait(lambda: _held(trial, "node-1") == 0, 60, "the survivors' slots are free")
        with trial.fault("a host lost with all its containers, and back"):
            host.start_as_a_service()
        trial.wait(lambda: _held(trial, "local") == 0, 60, "the lost host's slots are free")
        trial.rounds_done += 1


def cut_off(trial: Trial) -> None:
    """F-20: an engine that runs on and is not reached, for less and for more than it takes to be lost."""
    lost_after = _QUICK["lost_after_seconds"]
    brief, long = lost_after / 3, lost_after * 3
    cut, silent = trial.engines.proxy.cut, trial.engines.proxy.black_hole
    short = ((cut, brief), (silent, long))
    for way, seconds in short if trial.scale.short else ((cut, long), (silent, brief), *short):
        for _ in range(trial.scale.count(1, 5) * trial.scale.rounds):
            _cut_for(trial, way, seconds, is_lost=seconds > lost_after)
            trial.rounds_done += 1


def _cut_for(trial: Trial, way: Callable[[], None], seconds: float, *, is_lost: bool) -> None:
    ticks = int((seconds + 15) * 5)
    job = ticking_job(ranks=2, ticks=ticks)
    expect = {"states": ["FAILED"]} if is_lost else job.expect
    job_id = trial.submit_known(KnownJob(job.body, expect))
    trial.wait_states([job_id], {"RUNNING"}, 120)
    with trial.fault(f"the engine cut off for {seconds:g} s"):
        way()
        let_pass(seconds)
        if is_lost:
            trial.wait_states([job_id], {"FAILED"}, 120)
        healed_at = time.monotonic()
        trial.engines.proxy.heal()
    if is_lost:
        trial.wait(lambda: not trial.platform.containers_of(job_id), 120, "its orphans end")
        _must_be_within(trial, healed_at, _SEEN_SECONDS, "until the orphans of a node that came back had ended")
    trial.wait_states([job_id], set(expect["states"]), 120)


def lose_replies(trial: Trial) -> None:
    """F-21: the engine does what it is asked, and its answer is lost with the connection."""
    asked: dict[str, Sequence[bytes]] = {
        "create": (b"POST /", b"/containers/create?name=ls-"),
        "start": (b"POST /", b"/start HTTP/1.1"),
        "remove": (b"DELETE /", b"/containers/"),
    }
    for _ in range(trial.scale.count(1, 20) * trial.scale.rounds):
        for verb, words in asked.items():
            for ranks in trial.scale.count(1, 3) * [1, 2]:
                with trial.fault(f"the reply to {verb} lost"):
                    before = trial.engines.proxy.dropped_count
                    trial.engines.proxy.drop_reply_after(words)
                    job = trial.submit(ranks=ranks, lines=6)
                    trial.wait(lambda n=before: trial.engines.proxy.dropped_count > n, 60, "a reply was lost")  # type: ignore[misc]
                    trial.wait_states([job], {"COMPLETED"}, 120)
                trial.rounds_done += 1


def miss_events(trial: Trial) -> None:
    """F-23: nothing is heard of the engine while everything ends."""
    for _ in range(trial.scale.rounds):
        count = trial.scale.count(20, 300)
        seconds = trial.scale.pick(6, 10)
        done: list[str] = []
        while len(done) < count:
            batch = [
                trial.submit_known(ticking_job(ticks=int(seconds * 5)))
                for _ in range(min(trial.lab.slots, count - len(done)))
            ]
            trial.wait_states(batch, {"RUNNING", "COMPLETED"}, 120)
            with trial.fault(f"the engine not heard while {len(batch)} containers end"):
                trial.engines.proxy.black_hole()
                trial.wait(lambda: not _running(trial), 60, "they have ended")
                trial.engines.proxy.heal()
                healed_at = time.monotonic()
                trial.wait_states(batch, {"COMPLETED"}, 120)
                _must_be_within(trial, healed_at, _SEEN_SECONDS, "until ends that nobody heard were recorded")
            done += batch
        trial.rounds_done += 1


def _must_be_within(trial: Trial, since: float, seconds: float, what: str) -> None:
    taken = time.monotonic() - since
    if taken > trial.scale.allowed(seconds):
        trial.broken("I7", f"{taken:.1f} s {what}; {seconds:g} s are allowed")


def _running(trial: Trial) -> list[str]:
    return [each.id for each in trial.platform.containers() if each.status == "running"]


def _node(trial: Trial, name: str) -> str:
    rows = trial.query("SELECT state FROM nodes WHERE name = %s", name)
    return str(rows[0][0]) if rows else ""


def _held(trial: Trial, node: str) -> int:
    """Slots of the node that ranks hold."""
    held = (
        "SELECT count(*) FROM ranks r JOIN nodes n ON n.id = r.node_id WHERE r.released_at IS NULL AND n.name = %s"
    )
    return int(trial.query(held, node)[0][0])


def _jobs_on(trial: Trial, node: str, jobs: list[str]) -> list[str]:
    rows = trial.query(
        "SELECT j.batch_job_id FROM jobs j JOIN ranks r ON r.job_id = j.id JOIN nodes n ON n.id = r.node_id"
        " WHERE n.name = %s AND j.batch_job_id = ANY(%s)",
        node,
        jobs,
    )
    return [job for (job,) in rows]
