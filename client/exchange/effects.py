"""What a flow may ask of whoever drives it. Values only: nothing here sends, waits or reads.

A flow is a generator that yields one of these and is sent what came of it. So every call, retry and stream is
written once, and serves the synchronous and the asynchronous client.
"""

from __future__ import annotations

import json
from collections.abc import Generator, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, TypeAlias, TypeVar

from client.errors import NotSendable

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)
Query = Mapping[str, str | int | bool | None]


@dataclass(frozen=True)
class Request:
    """A request; `path` is below the account's.

    `repeatable`: sending it twice does no more than sending it once, so that a lost answer may be asked for again.
    `gone_is_done`: a 404 to such a repetition says that the first one did it.
    """

    method: str
    path: str
    query: Query = field(default_factory=dict)
    body: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)
    repeatable: bool = True
    gone_is_done: bool = False

    @property
    def parameters(self) -> dict[str, str]:
        """The query as it is sent; what is None, empty or false is left out."""
        named = {name: value for name, value in self.query.items() if value not in (None, "", False)}
        return {name: "true" if value is True else str(value) for name, value in named.items()}

    @property
    def content(self) -> bytes | None:
        """The body as it is sent. Raises NotSendable for text that is no UTF-8, as a shell's arguments may be."""
        if self.body is None:
            return None
        try:
            return json.dumps(self.body, ensure_ascii=False).encode()
        except UnicodeEncodeError:
            raise NotSendable("a text of the request is not UTF-8") from None


@dataclass(frozen=True)
class Reply:
    """What came back. Header names are in small letters; the content of a stream that was opened is empty."""

    status: int
    headers: Mapping[str, str]
    content: bytes = b""


class Broken(Exception):  # says what happened; it never leaves the flows
    """The connection failed. `sent` is False where the request cannot have reached the platform."""

    def __init__(self, sentence: str, *, sent: bool) -> None:
        super().__init__(sentence)
        self.sent = sent


@dataclass(frozen=True)
class Ask:
    """Send; the Reply is sent back, or Broken raised."""

    request: Request


@dataclass(frozen=True)
class Open:
    """Send, and leave the answer's content to be read; the Reply is sent back, whole where it is an error.

    A stream that was open is closed first.
    """

    request: Request


@dataclass(frozen=True)
class NextText:
    """Text of the open stream as it comes is sent back, None at its end, or Broken raised."""


@dataclass(frozen=True)
class NextBytes:
    """The same, of what is no text. One answer is read as one of the two."""


@dataclass(frozen=True)
class Pause:
    """Nothing, for so long. `because`, where set, is worth telling a person who waits."""

    seconds: float
    because: str = ""


@dataclass(frozen=True)
class Tell(Generic[T_co]):
    """Something for whoever iterates."""

    item: T_co


def step(flow: Generator[Any, Any, Any], came: object) -> Any:
    """What a flow asks for next, or tells. Broken that came of an effect is raised where it was asked for."""
    return flow.throw(came) if isinstance(came, Broken) else flow.send(came)


#: A call with one answer.
Flow: TypeAlias = Generator[Ask | Open | NextText | NextBytes | Pause, Any, T]
#: A call with many: each is told.
Stream: TypeAlias = Generator[Ask | Open | NextText | NextBytes | Pause | Tell[T], Any, None]
