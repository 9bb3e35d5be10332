"""What an engine has told of ends, and which of that is a program's own doing."""

from __future__ import annotations

import pytest

from worker.docker_engine.streams import ContainerEvent
from worker.engine import RankKey
from worker.supervisor.told_exits import ToldExits


def event(action: str, container: str = "c1", **attributes: str) -> ContainerEvent:
    return ContainerEvent(RankKey("job", 1, 0), container, action, attributes)


def told(*events: ContainerEvent) -> ToldExits:
    exits = ToldExits()
    for each in events:
        exits.notice(each)
    return exits


def test_end_that_was_told_is_the_programs_own() -> None:
    exits = told(event("start"), event("die", exitCode="7"))
    assert exits.own_exit("c1") == 7
    assert exits.own_exit("c2") is None


@pytest.mark.parametrize("signal_first", [True, False])
def test_end_of_a_container_that_was_signalled_may_be_anybodys(signal_first: bool) -> None:
    kill, die = event("kill", signal="15"), event("die", exitCode="143")
    exits = told(kill, die) if signal_first else told(die, kill)
    assert exits.own_exit("c1") is None


def test_end_without_an_exit_code_tells_nothing() -> None:
    assert told(event("die")).own_exit("c1") is None


def test_what_was_told_of_containers_that_are_gone_is_forgotten() -> None:
    exits = told(event("die", exitCode="7"), event("die", "c2", exitCode="8"), event("kill", "c3"))
    assert exits.known() == {"c1", "c2", "c3"}
    exits.forget({"c1", "c3"})
    assert exits.known() == {"c2"}
    assert exits.own_exit("c2") == 8
