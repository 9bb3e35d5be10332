"""What is looked at: the settings as the processes have them, the rows, the engine. Every reading is made once.

Settings are the environment's first; then those with which the processes of `deploy/up` run, where they do; then
those that `deploy/up` would give them.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from functools import cached_property
from pathlib import Path

from core.database import Database
from core.diagnosis import NodeSigns, node_signs
from core.settings import Settings
from deploy.diagnosis.engine_answers import EngineAnswers
from deploy.embedded.postgres import recorded_url
from deploy.engine import DEFAULT_SOCKET
from deploy.home import CHECKOUT, Home, Roster, read_env_file
from deploy.processes import SetupError
from deploy.services import COMMANDS, service_environment
from worker.docker_engine.transport import EngineAccess

_DEFAULT_PORT = 8080


class Site:
    """One installation, from this host. What cannot be had raises where it is asked for."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self.home = Home(Path(environment.get("LONGSHORE_HOME") or CHECKOUT / ".longshore").expanduser().resolve())
        self.given = environment
        #: what rows say of the engine is heeded once it is known that they can be had
        self.database_answers = False

    @cached_property
    def roster(self) -> Roster | None:
        """The processes that `deploy/up` started; None where it started none, or they are not to be read."""
        if not os.access(self.home.path / "processes.json", os.R_OK):
            return None
        return Roster(self.home)

    @cached_property
    def environment(self) -> Mapping[str, str]:
        """The variables that hold. Raises SetupError where no database or broker is named or was set up."""
        known = {**self.of_processes, **self.given}
        database_url = known.get("LONGSHORE_DATABASE_URL") or recorded_url(self.home.path / "postgres")
        broker_url = known.get("LONGSHORE_BROKER_URL") or self._embedded_broker
        if not database_url or not broker_url:
            name = "LONGSHORE_BROKER_URL" if database_url else "LONGSHORE_DATABASE_URL"
            raise SetupError(f"{name} is not set, and {self.home.path} has no server of ours")
        made = service_environment(
            self.home, database_url=database_url, broker_url=broker_url, port=self._port, given=known
        )
        # As it was given, whatever it is: that it is no number is for the settings to say.
        asked = known.get("LONGSHORE_API_PORT")
        return made | ({"LONGSHORE_API_PORT": asked} if asked else {})

    @cached_property
    def settings(self) -> Settings:
        """The same, read. Raises pydantic's ValidationError, SetupError."""
        prefix = "LONGSHORE_"
        named = {name: value for name, value in self.environment.items() if name.startswith(prefix)}
        return Settings.model_validate({name.removeprefix(prefix).lower(): each for name, each in named.items()})

    @cached_property
    def database(self) -> Database:
        return Database(self.settings.database_url, pool_size=2)

    @cached_property
    def nodes(self) -> list[NodeSigns]:
        """Every node by its row."""
        return node_signs(self.database)

    @property
    def group_nodes(self) -> list[NodeSigns]:
        """Those that the workers of this host serve."""
        return [node for node in self.nodes if node.worker_group == self.settings.worker_group]

    @cached_property
    def engine_endpoint(self) -> str:
        """The engine of this host: as DOCKER_HOST says, or a node's row, a socket first, or Docker's own."""
        if named := self.environment.get("DOCKER_HOST"):
            return named
        nodes = self.group_nodes if self.database_answers else []
        endpoints = sorted((node.endpoint for node in nodes), key=lambda each: not each.startswith("unix://"))
        return endpoints[0] if endpoints else f"unix://{DEFAULT_SOCKET}"

    @property
    def needs_no_engine(self) -> bool:
        """Whether every node there is has workers elsewhere."""
        named = self.environment.get("DOCKER_HOST")
        return not named and self.database_answers and bool(self.nodes) and not self.group_nodes

    @cached_property
    def engine(self) -> EngineAnswers:
        """The engine of this host. Raises EngineSilent where it is asked and does not answer."""
        return EngineAnswers(self.engine_endpoint, EngineAccess.of(self.settings))

    @property
    def url(self) -> str:
        """Where clients find the API; "" where nobody has said."""
        known = self.given.get("LONGSHORE_URL")
        with suppress(OSError):
            known = known or read_env_file(self.home.env_file).get("LONGSHORE_URL")
        return known or ""

    @property
    def is_embedded_database(self) -> bool:
        """Whether it is the server that `deploy/up` starts."""
        with suppress(OSError):
            return self.settings.database_url == recorded_url(self.home.path / "postgres")
        return False

    @cached_property
    def of_processes(self) -> Mapping[str, str]:
        """What a process of ours was started with, where one runs and this user may read it."""
        if self.roster is None:
            return {}
        for name in COMMANDS:
            process = self.roster.running(name)
            if process is None:
                continue
            with suppress(OSError):
                lines = Path(f"/proc/{process.pid}/environ").read_bytes().decode(errors="replace").split("\0")
                pairs = [line.partition("=") for line in lines]
                return {key: value for key, _, value in pairs if key.startswith(("LONGSHORE_", "DOCKER_"))}
        return {}

    @property
    def _embedded_broker(self) -> str:
        there = os.path.lexists(self.home.path / "valkey")
        return f"redis+socket://{self.home.runtime.resolve()}/valkey.sock?virtual_host=0" if there else ""

    @property
    def _port(self) -> int:
        """That of the api that was started last."""
        has = self.roster.mark("api").rpartition(":")[2] if self.roster is not None else ""
        return int(has) if has.isdigit() else _DEFAULT_PORT
