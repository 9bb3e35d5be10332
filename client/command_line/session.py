"""What a command is run with: settings that came before it, the terminal, a connection made when it is wanted."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Annotated, Any

import typer

from client.command_line.screen import Screen
from client.longshore import AsyncLongshore, Longshore
from client.profiles import Profile, settings_of

Json = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]
JobId = Annotated[str, typer.Argument(metavar="JOB", help="A job's id.")]
JobIds = Annotated[list[str], typer.Argument(metavar="JOB...", help="Ids of jobs.")]
#: A person waits for an answer; a wrong URL is to be told soon.
ASK_SECONDS = 20.0
#: What is followed is followed through a restart of the platform.
FOLLOW_SECONDS = 300.0


@dataclass
class Session:
    """One run of the command line."""

    profile: str = ""
    url: str = ""
    account: str = ""
    screen: Screen = field(default_factory=Screen)
    _told: str = ""

    @cached_property
    def longshore(self) -> Longshore:
        """The platform. Raises SettingsMissing."""
        return Longshore(self.url, "", self.account, profile=self.profile, **self._patience)

    def looped(self) -> AsyncLongshore:
        """The same for an event loop; the caller closes it."""
        return AsyncLongshore(self.url, "", self.account, profile=self.profile, **self._patience)

    @property
    def _patience(self) -> dict[str, Any]:
        return {"retry_seconds": ASK_SECONDS, "on_retry": self._tell}

    @property
    def pool(self) -> str:
        """Where a job goes that names no pool."""
        return settings_of(Profile(self.url, self.account), self.profile).pool or "default"

    def _tell(self, sentence: str) -> None:
        if sentence != self._told:
            self.screen.say(sentence, "dim")
        self._told = sentence


def session_of(context: typer.Context, as_json: bool = False) -> Session:
    """The session of a command."""
    session: Session = context.find_object(Session) or Session()
    session.screen.as_json = as_json
    return session
