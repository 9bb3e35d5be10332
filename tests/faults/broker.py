"""F-8 to F-12: the broker that dies, forgets, repeats itself, is silent, or comes and goes."""

from __future__ import annotations

import codecs
import json
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event, Thread

import redis

from core.queue import CONTROL_QUEUE, LAUNCH, SCHEDULE, group_queue
from tests.faults.harness.chaos import let_pass
from tests.faults.harness.load import known_job
from tests.faults.harness.trial import Lab, Trial
from tests.lab.broker_lists import lists_of
from tests.lab.platform import Platform

LAB = Lab(slots=24)
PROXIED = Lab(slots=24, proxied=(("broker", "worker"), ("broker", "api")))
#: How slow a submission may be while the broker does not answer.
_SUBMIT_SECONDS = 1.0


def kill(trial: Trial) -> None:
    """F-8."""
    trial.background(jobs=trial.scale.count(10, 200), per_second=2.0)
    for _ in range(trial.scale.rounds):
        with trial.fault("the broker killed"):
            trial.servers.kill(trial.servers.valkey)
            _submit_for(trial, trial.scale.pick(4, 10))
            trial.servers.start(trial.servers.valkey)
        trial.rounds_done += 1


def _submit_for(trial: Trial, seconds: float) -> None:
    """What is submitted while the broker is away is accepted, and soon."""
    over = time.monotonic() + seconds
    while time.monotonic() < over:
        begun = time.monotonic()
        job = known_job(seconds=0.1, lines=4)
        status = trial.client.submit_once(job.body, expect=job.expect)
        took = time.monotonic() - begun
        if status != 200:
            trial.broken("I1", f"a submission without a broker was answered {status}")
        if took > trial.scale.allowed(_SUBMIT_SECONDS):
            trial.broken("I10", f"a submission without a broker took {took:.1f} s")
        let_pass(0.3)


def flush(trial: Trial) -> None:
    """F-9."""
    for _ in range(trial.scale.rounds):
        with trial.held_back():
            jobs = [trial.submit(seconds=0.1, lines=4) for _ in range(trial.scale.count(20, 500))]
        with trial.fault(f"FLUSHALL with {len(jobs)} jobs queued"), _connected(trial.platform) as broker:
            broker.flushall()
        trial.wait_states(jobs, {"COMPLETED"}, 600)
        trial.rounds_done += 1


def replay(trial: Trial) -> None:
    """F-10."""
    for _ in range(trial.scale.rounds):
        with _recorded(trial.platform) as messages:
            jobs = [
                trial.submit(ranks=trial.chance.choice([1, 2]), seconds=trial.chance.choice([0.1, 3]), lines=6)
                for _ in range(trial.scale.count(6, 60))
            ]
            trial.wait_states(jobs[: len(jobs) // 2], {"RUNNING", "COMPLETED"}, 120)
            _replay(trial, messages)
            trial.wait_states(jobs, {"COMPLETED"}, 300)
        # All of their jobs are long over, as they would be an hour later.
        _replay(trial, messages)
        trial.rounds_done += 1


def _replay(trial: Trial, messages: list[tuple[str, bytes]]) -> None:
    tasks = {json.loads(message)["headers"]["task"] for _, message in messages}
    assert tasks >= {SCHEDULE, LAUNCH}, f"only {tasks} were recorded"
    again = list(messages) * 5
    trial.chance.shuffle(again)
    with (
        trial.fault(f"{len(messages)} messages given out again, five times each"),
        _connected(trial.platform) as broker,
    ):
        for queue, message in again:
            broker.lpush(queue, message)
        trial.wait(lambda: not any(map(broker.llen, _queues(trial.platform))), 300, "they have been taken")


def be_silent(trial: Trial) -> None:
    """F-11."""
    trial.background(jobs=trial.scale.count(8, 100), per_second=1.0)
    for _ in range(trial.scale.rounds):
        for process in ("worker", "api"):
            proxy = trial.proxies[("broker", process)]
            with trial.fault(f"the broker silent for the {process}"):
                proxy.black_hole()
                _submit_for(trial, trial.scale.pick(8, 120))
                proxy.heal()
        trial.rounds_done += 1


def restart_thrice(trial: Trial) -> None:
    """F-12."""
    for _ in range(trial.scale.rounds * trial.scale.count(2, 50)):
        trial.submit(seconds=0.5)
        with trial.fault("three restarts of the broker within a moment"):
            for _ in range(3):
                trial.servers.kill(trial.servers.valkey)
                trial.servers.start(trial.servers.valkey)
                let_pass(0.5)
        trial.rounds_done += 1


def _queues(platform: Platform) -> list[str]:
    return [*lists_of(CONTROL_QUEUE), *lists_of(group_queue(platform.installation))]


@contextmanager
def _connected(platform: Platform) -> Iterator[redis.Redis]:
    path, _, number = platform.broker_url.removeprefix("redis+socket://").partition("?virtual_host=")
    broker = redis.Redis(unix_socket_path=path, db=int(number))
    try:
        yield broker
    finally:
        broker.close()


def _words(said: bytes) -> list[bytes]:
    """The quoted words of a line of MONITOR."""
    return [codecs.escape_decode(word)[0] for word in re.findall(rb'"((?:[^"\\]|\\.)*)"', said)]


@contextmanager
def _recorded(platform: Platform) -> Iterator[list[tuple[str, bytes]]]:
    """Every message that is published meanwhile, with its queue; each once."""
    messages: list[tuple[str, bytes]] = []
    over = Event()
    queues = _queues(platform)

    def listen() -> None:
        with _connected(platform) as broker, broker.monitor() as monitor:  # type: ignore[no-untyped-call]
            while not over.is_set():
                # Not redis-py's own parser: it takes away one level of quoting where there were two.
                said = _words(monitor.connection.read_response(disable_decoding=True))
                if len(said) == 3 and said[0].upper() == b"LPUSH" and said[1].decode() in queues:
                    message = (said[1].decode(), said[2])
                    if message not in messages:
                        messages.append(message)

    thread = Thread(target=listen, daemon=True)
    thread.start()
    try:
        yield messages
    finally:
        over.set()
