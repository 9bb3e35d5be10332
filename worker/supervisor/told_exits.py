"""Ends that an engine has told of and may forget: one that dies before it has written an end down knows of none.

An engine that is told to stop ends its containers by signals, and tells of those as well. So what it tells of an
end is a program's own only where no signal was sent to the container, by whomever.
"""

from __future__ import annotations

from collections.abc import Collection

from worker.docker_engine.streams import ContainerEvent


class ToldExits:
    """What was told of one node's containers since it is watched, by their ids."""

    def __init__(self) -> None:
        self._codes: dict[str, int] = {}
        self._signalled: set[str] = set()

    def notice(self, event: ContainerEvent) -> None:
        """Keep what an event tells of an end."""
        code = event.labels.get("exitCode", "")
        if event.action == "kill":
            self._signalled.add(event.container_id)
        elif event.action == "die" and code.isdecimal():
            self._codes[event.container_id] = int(code)

    def own_exit(self, container_id: str) -> int | None:
        """The exit code, as it was told, of a program that ended by itself; None where neither is known."""
        return None if container_id in self._signalled else self._codes.get(container_id)

    def known(self) -> frozenset[str]:
        """The containers of which something was told."""
        return frozenset(self._codes) | self._signalled

    def forget(self, container_ids: Collection[str]) -> None:
        """These are gone."""
        for container_id in container_ids:
            self._codes.pop(container_id, None)
        self._signalled.difference_update(container_ids)
