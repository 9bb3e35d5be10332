"""`deploy/node`: makes this machine one more node of a pool. The order of the steps is here; run it again freely.

    deploy/node tls ADDRESS --certificates FOLDER        the engine gets a port with mutual TLS; joins by the API
    deploy/node beside --database-url U --broker-url U   a worker and a supervisor run here; no engine port is open

`--label disk=ssd`, which may be given several times, says what the machine is to jobs that ask for it.
With `--swarm-init`, or `--swarm HOST:2377 --swarm-token-file FILE`, the engine is part of a swarm, which a pool
whose network is `overlay` needs. Started by the shell script of the same name, which makes the Python environment.
"""

from __future__ import annotations

import argparse
import os
import socket
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from api.wire.annotations import label_violations
from deploy.base_image import ensure_python_image
from deploy.certificates import days_left
from deploy.engine import Engine, EnginePlace, ensure_engine
from deploy.home import Home
from deploy.membership import ApiMembership, DatabaseMembership, Machine, Membership
from deploy.node_swarm import ensure_swarm
from deploy.processes import SetupError, wait_until
from deploy.services import BESIDE, check_services, start_beside
from deploy.steps import require, say, step
from deploy.tls_port import TLS_PORT, check_port, tls_options

_ACCEPTING_SECONDS = 60.0
_CERTIFICATES = ("ca.pem", "cert.pem", "key.pem")


def main() -> int:
    """Prepare and join; 0 when the node takes ranks, 1 with a sentence on stderr otherwise."""
    arguments = _arguments()
    home = Home.from_environment()
    try:
        with home.locked():
            membership = _membership(arguments)
            try:
                _set_up(home, arguments, membership)
            finally:
                membership.close()
    except SetupError as error:
        print(f"\ndeploy/node: {error}", file=sys.stderr)
        return 1
    return 0


def _set_up(home: Home, arguments: argparse.Namespace, membership: Membership) -> None:
    with step("pool") as line:
        network = membership.network()
        line.result = f"{arguments.pool}, whose network is {network or 'bridge'}"
        wants_swarm = arguments.swarm_init or bool(arguments.swarm)
        require(
            network != "overlay" or wants_swarm,
            f"the network of pool {arguments.pool} is overlay, so its engines are in one swarm: give --swarm-init"
            " on the first machine, --swarm HOST:2377 --swarm-token-file FILE on the others",
        )
    if arguments.how == "tls":
        _check_certificates(arguments.certificates)
    engine = _engine(home, arguments, in_swarm=wants_swarm)
    if wants_swarm:
        with step("swarm") as line:
            line.result = ensure_swarm(
                engine.client,
                address=arguments.swarm_address or getattr(arguments, "address", ""),
                manager=arguments.swarm,
                token_file=arguments.swarm_token_file,
            )
    if not arguments.no_image:
        with step("image") as line:
            line.result = ensure_python_image(engine.client)
    engine.client.close()
    if arguments.how == "tls":
        with step("port") as line:
            line.result = check_port(arguments.address, arguments.certificates)
        endpoint = f"tcp://{arguments.address}:{TLS_PORT}"
        group = arguments.worker_group
    else:
        endpoint, group = engine.endpoint, f"beside-{arguments.node}"[:31].rstrip("-")
        with step("processes") as line:
            line.result = start_beside(home, _environment(home, arguments, group))
    _join(home, membership, arguments, endpoint, group, engine)


def _engine(home: Home, arguments: argparse.Namespace, *, in_swarm: bool) -> Engine:
    folder = arguments.engine_folder
    options = tls_options(arguments.certificates, arguments.address) if arguments.how == "tls" else ()
    if folder is None:
        place = EnginePlace(options=options, live_restore=not in_swarm)
    else:
        folder.mkdir(parents=True, exist_ok=True)
        place = EnginePlace(
            socket=folder / "docker.sock",
            data_root=folder / "data",
            exec_root=folder / "exec",
            pid_file=folder / "docker.pid",
            options=options,
            live_restore=not in_swarm,
        )
    with step("engine") as line:
        engine = ensure_engine(home, place)
        line.result = f"Docker {engine.version} at {engine.endpoint} {engine.how}"
    return engine


def _join(
    home: Home, membership: Membership, arguments: argparse.Namespace, endpoint: str, group: str, engine: Engine
) -> None:
    with step("node") as line:
        machine = Machine(
            endpoint=endpoint,
            worker_group=group,
            address=getattr(arguments, "address", "") or arguments.swarm_address,
            labels=arguments.labels,
            cpu_count=engine.cpu_count,
            memory_bytes=engine.memory_bytes,
        )
        line.result = membership.join(machine)
    said = ""

    def accepts() -> bool:
        nonlocal said
        if arguments.how == "beside":
            check_services(home, BESIDE)
        accepting, said = membership.look()
        return accepting

    with step("ready") as line:
        if not wait_until(accepts, _ACCEPTING_SECONDS, every=0.5):
            raise SetupError(f"node {arguments.node} takes no ranks yet: {said}")
        line.result = said
    say(f"{arguments.node} is a node of pool {arguments.pool}.")


def _membership(arguments: argparse.Namespace) -> Membership:
    if arguments.how == "beside":
        return DatabaseMembership(arguments.database_url, arguments.account, arguments.pool, arguments.node)
    return ApiMembership(arguments.url, arguments.account, arguments.key, arguments.pool, arguments.node)


def _check_certificates(folder: Path) -> None:
    with step("keys") as line:
        missing = [name for name in _CERTIFICATES if not (folder / name).is_file()]
        require(
            not missing,
            f"{folder} has no {', '.join(missing)}: make them where the authority is, with `python -m"
            " deploy.certificates FOLDER server ADDRESS`, and bring that folder here",
        )
        left = days_left(folder / "cert.pem")
        require(left > 0, f"the certificate {folder / 'cert.pem'} has expired; make another one")
        line.result = f"in {folder}, good for {left:.0f} days"


def _environment(home: Home, arguments: argparse.Namespace, group: str) -> dict[str, str]:
    environment = os.environ | {
        "LONGSHORE_HOME": str(home.path),
        "LONGSHORE_DATABASE_URL": arguments.database_url,
        "LONGSHORE_BROKER_URL": arguments.broker_url,
        "LONGSHORE_WORKER_GROUP": group,
        "LONGSHORE_INSTALLATION": arguments.installation,
    }
    if arguments.secret_keys_file:
        environment["LONGSHORE_SECRET_KEYS_FILE"] = str(arguments.secret_keys_file)
    return environment


def _arguments() -> argparse.Namespace:
    known = os.environ.get
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument("--pool", default="default")
    shared.add_argument("--node", default=socket.gethostname().split(".")[0].lower(), help="the node's id")
    shared.add_argument("--account", default=known("LONGSHORE_ACCOUNT", "main"))
    shared.add_argument(
        "--label",
        metavar="KEY=VALUE",
        action="append",
        default=[],
        help="what the node is, for the nodeLabels of jobs; those given are all that it has",
    )
    shared.add_argument("--no-image", action="store_true", help="do not build the base image on this engine")
    shared.add_argument("--engine-folder", type=Path, help="an engine of its own in a folder, not the machine's")
    shared.add_argument("--swarm-init", action="store_true", help="begin a swarm on this machine")
    shared.add_argument("--swarm", metavar="HOST:2377", default="", help="a manager of the swarm to join")
    shared.add_argument("--swarm-token-file", type=Path, help="has what `docker swarm join-token -q worker` says")
    shared.add_argument("--swarm-address", default="", help="this machine's address in the swarm")
    parser = argparse.ArgumentParser(
        prog="deploy/node", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    ways = parser.add_subparsers(dest="how", required=True)
    tls = ways.add_parser("tls", parents=[shared], help="reached by a worker elsewhere, by mutual TLS")
    tls.add_argument("address", help="the address or name by which workers and other hosts reach this machine")
    tls.add_argument("--certificates", type=Path, required=True, help="folder with ca.pem, cert.pem, key.pem")
    tls.add_argument("--url", default=known("LONGSHORE_URL"), required=known("LONGSHORE_URL") is None)
    tls.add_argument("--worker-group", default="", help="the group whose workers have the client certificate")
    beside = ways.add_parser("beside", parents=[shared], help="served by a worker on this machine")
    beside.add_argument("--database-url", **_named("LONGSHORE_DATABASE_URL"))
    beside.add_argument("--broker-url", **_named("LONGSHORE_BROKER_URL"))
    beside.add_argument("--installation", **_named("LONGSHORE_INSTALLATION"))
    beside.add_argument("--secret-keys-file", type=Path, default=known("LONGSHORE_SECRET_KEYS_FILE"))
    arguments = parser.parse_args()
    # A key on a command line is everybody's to read.
    arguments.key = known("LONGSHORE_API_KEY", "")
    if arguments.how == "tls" and not arguments.key:
        parser.error("set LONGSHORE_API_KEY, as the file `env` of the first machine does")
    try:
        arguments.labels = read_labels(arguments.label)
    except ValueError as error:
        parser.error(f"--label {error}")
    if arguments.swarm and arguments.swarm_token_file is None:
        parser.error("--swarm needs --swarm-token-file")
    return arguments


def read_labels(given: Sequence[str]) -> dict[str, str]:
    """Labels from `key=value` each, by the API's rules: not every way of joining asks it. Raises ValueError."""
    labels: dict[str, str] = {}
    for each in given:
        key, equals, value = each.partition("=")
        if not equals:
            raise ValueError(f"{each}: must be KEY=VALUE")
        if labels.get(key, value) != value:
            raise ValueError(f"{each}: {key} is {labels[key]} already")
        labels[key] = value
    for violation in label_violations("", labels):
        raise ValueError(f"{violation.field.lstrip('.') or 'values'}: {violation.description}")
    return labels


def _named(variable: str) -> dict[str, Any]:
    """An option that an environment variable can give as well."""
    value = os.environ.get(variable)
    return {"default": value, "required": value is None, "help": f"also {variable}"}


if __name__ == "__main__":
    raise SystemExit(main())
