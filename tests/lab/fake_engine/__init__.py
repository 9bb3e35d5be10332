"""Docker engines that are not there: the part of the Engine API (v1.41) that we use, over unix sockets, scripted.

    with FakeFleet(3, folder, images=(FakeImage("busybox:1"),)) as fleet:
        engine = DockerSteps(fleet.engines[0].endpoint, timeout_seconds=5)

`behaviour` says what containers do, `images` what is on engines and in registries, `fleet` serves them.
Trusted only through tests/worker/engine_contract, which a real engine passes too.

Costs (tests/bench/fake_fleet.py, one core of a shared machine, Python 3.11): an idle engine is one descriptor
and 7 KiB, so that a thousand take 32 MiB with the interpreter, and 100 MiB with a client, an event stream and
256 remembered events each; a running container is 4 KiB; one process creates, starts, ends, describes and
removes 3,000 to 3,900 containers per second of its processor time.

Not as on a real engine: creating and starting take no time unless `delays` say so; a slow reader of events or
logs is never skipped and never slows a container; nothing is shared between engines (no swarm, no overlay
networks); files put into a container are not seen by its program, and limits are kept but not felt; each image
name is content of its own; an engine's restart is its sockets' (`go_away`, `come_back`), containers and
remembered events outlive it.
"""

from tests.lab.fake_engine.behaviour import DISK_FULL, ENGINE_ERROR, Behaviour, Output, Refusal, Termination
from tests.lab.fake_engine.container import FakeContainer
from tests.lab.fake_engine.engine import FakeEngine, HostFacts
from tests.lab.fake_engine.fleet import FakeFleet, ServedEngine
from tests.lab.fake_engine.images import FakeImage, FakeRegistries, RemoteImage

__all__ = [
    "DISK_FULL",
    "ENGINE_ERROR",
    "Behaviour",
    "FakeContainer",
    "FakeEngine",
    "FakeFleet",
    "FakeImage",
    "FakeRegistries",
    "HostFacts",
    "Output",
    "Refusal",
    "RemoteImage",
    "ServedEngine",
    "Termination",
]
