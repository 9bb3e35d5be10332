"""`deploy/down`: stop everything that `deploy/up` started. `--purge` also removes the data.

Processes are found by pid and start time, containers and networks by our label; nothing by its name alone.
"""

from __future__ import annotations

import argparse
import sys

import docker
from docker.errors import APIError, NotFound
from docker.models.networks import Network

from deploy.embedded import EmbeddedPostgres, EmbeddedValkey
from deploy.engine import reach, stop_engine
from deploy.home import Home
from deploy.processes import SetupError
from deploy.services import COMMANDS, stop_service
from deploy.steps import say, step
from worker.engine import LABEL_INSTALLATION

#: What a job's processes get to end by themselves.
_GRACE_SECONDS = 5


def main() -> int:
    """Stop, and purge if asked to; 1 with a sentence on stderr when something would not."""
    parser = argparse.ArgumentParser(prog="deploy/down", description=__doc__)
    parser.add_argument("--purge", action="store_true", help="remove the data, keys and logs as well")
    purge = parser.parse_args().purge
    home = Home.from_environment()
    if not home.path.is_dir():
        say(f"nothing was set up in {home.path}")
        return 0
    try:
        with home.locked():
            _stop(home)
            if purge:
                with step("purge") as line:
                    home.purge()
                    line.result = f"removed the data, the key, the logs and the Python environment in {home.path}"
    except SetupError as error:
        print(f"\ndeploy/down: {error}", file=sys.stderr)
        return 1
    kept = "Kept: the engine's images" if purge else f"Kept: the data in {home.path} and the engine's images"
    say(f"{kept}; packages that were installed stay too.")
    return 0


def _stop(home: Home) -> None:
    # Our processes first: they would start again what is removed under them.
    for name in reversed(COMMANDS):
        with step(name) as line:
            line.result = "stopped" if stop_service(home, name) else "was not running"
    with step("containers") as line:
        engine = reach()
        line.result = "the engine does not answer" if engine is None else remove_ours(engine, home.installation)
    with step("valkey") as line:
        line.result = "stopped" if _stop_server(EmbeddedValkey, home, "valkey") else "was not running"
    with step("postgres") as line:
        line.result = "stopped" if _stop_server(EmbeddedPostgres, home, "postgres") else "was not running"
    with step("engine") as line:
        line.result = "stopped" if stop_engine(home) else "was not started by us, left as it is"


def _stop_server(kind: type[EmbeddedPostgres | EmbeddedValkey], home: Home, name: str) -> bool:
    folder = home.path / name
    return folder.exists() and kind(folder, home.runtime).stop()


def remove_ours(engine: docker.DockerClient, installation: str) -> str:
    """Stop and remove our containers, then our networks. Rows stay: the next start finds their ends."""
    ours: dict[str, str | list[str] | bool] = {"label": f"{LABEL_INSTALLATION}={installation}"}
    containers = engine.containers.list(all=True, filters=ours, ignore_removed=True)
    for container in containers:
        try:
            container.stop(timeout=_GRACE_SECONDS)
            container.remove(force=True, v=True)
        except NotFound:
            continue
        except APIError as error:
            raise SetupError(f"container {container.name} does not go ({error.explanation}); remove it") from error
    networks = engine.networks.list(filters=ours)
    kept = [str(network.name) for network in networks if not _removed(network)]
    said = f"removed {len(containers)} containers and {len(networks) - len(kept)} networks"
    # Engines may miscount a network's endpoints when many containers start and end at once; a restart mends it.
    return said + (f"; the engine holds {', '.join(kept)} until it is restarted" if kept else "")


def _removed(network: Network) -> bool:
    try:
        network.remove()
    except NotFound:
        return True
    except APIError as error:
        if "active endpoints" not in str(error.explanation):
            raise SetupError(f"network {network.name} does not go ({error.explanation}); remove it") from error
        return False
    return True


if __name__ == "__main__":
    raise SystemExit(main())
