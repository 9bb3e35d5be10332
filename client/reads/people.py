"""Users, their keys, and the account's secrets, as they are answered."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from client.reads.wire import Read


@dataclass(frozen=True, kw_only=True)
class User(Read):
    name: str = ""
    display_name: str = ""
    email: str = ""
    role: str = ""
    create_time: datetime | None = None

    @property
    def id(self) -> str:
        """The last part of its name."""
        return self.name.rpartition("/")[2]


@dataclass(frozen=True, kw_only=True)
class ApiKey(Read):
    """A key. `key`, the secret itself, is in the answer to its making alone, and is not shown by `repr`."""

    name: str = ""
    key_id: str = ""
    display_name: str = ""
    email: str = ""
    user: str = ""
    prefix: str = ""
    key: str = field(default="", repr=False)
    create_time: datetime | None = None
    expire_time: datetime | None = None
    last_used_time: datetime | None = None


@dataclass(frozen=True, kw_only=True)
class Secret(Read):
    """A secret without its value, which is never answered."""

    name: str = ""
    key_name: str = ""
    created_by: str = ""
    create_time: datetime | None = None
    update_time: datetime | None = None

    @property
    def id(self) -> str:
        """The last part of its name."""
        return self.name.rpartition("/")[2]
