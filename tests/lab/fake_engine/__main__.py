"""A fleet in a process of its own: `python -m tests.lab.fake_engine --count 1000 --folder /tmp/fleet image:tag …`.

Prints `ready` when every socket answers. A line on its standard input is answered by one JSON line, the `Tally` of
what happened so far; the end of its input ends it.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import orjson

from tests.lab.fake_engine.engine import FakeEngine
from tests.lab.fake_engine.events import Event
from tests.lab.fake_engine.fleet import FakeFleet
from tests.lab.fake_engine.images import FakeImage


@dataclass
class Tally:
    """What happened on a whole fleet. `repeated` are names that were created more than once, wherever."""

    actions: Counter[str] = field(default_factory=Counter)
    repeated: list[str] = field(default_factory=list)
    most_running: int = 0
    most_on_one: int = 0
    _running: int = 0
    _names: set[str] = field(default_factory=set)

    def note(self, engine: FakeEngine, event: Event) -> None:
        """An engine's observer."""
        if event.kind != "container":
            return
        self.actions[event.action] += 1
        if event.action == "create":
            name = event.attributes["name"]
            if name in self._names:
                self.repeated.append(name)
            self._names.add(name)
        elif event.action == "start":
            self._running += 1
            self.most_running = max(self.most_running, self._running)
            self.most_on_one = max(self.most_on_one, engine.running_count)
        elif event.action == "die":
            self._running -= 1

    def line(self) -> bytes:
        """As JSON."""
        said = {
            "actions": self.actions,
            "repeated": self.repeated,
            "mostRunning": self.most_running,
            "mostOnOne": self.most_on_one,
        }
        return orjson.dumps(said) + b"\n"


def main() -> None:
    """Serve until the standard input ends."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=1)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--time-scale", type=float, default=1.0)
    parser.add_argument("images", nargs="+")
    options = parser.parse_args()
    tally = Tally()

    def configure(engine: FakeEngine) -> None:
        engine.observer = tally.note

    images = tuple(FakeImage(reference) for reference in options.images)
    with FakeFleet(
        options.count, options.folder, images=images, time_scale=options.time_scale, configure=configure
    ):
        print("ready", flush=True)
        for _ in sys.stdin:
            sys.stdout.buffer.write(tally.line())
            sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
