"""What can go wrong in a call, each with a sentence for a person. Nothing else is raised by the client."""

from __future__ import annotations

from dataclasses import dataclass


class LongshoreError(Exception):
    """The one family; `str()` of each is a sentence."""


class SettingsMissing(LongshoreError):
    """URL, account or key is not known, or is not to be used; the sentence says where it can be set."""


class NotSendable(LongshoreError):
    """A file or a value cannot be part of a job; nothing was sent."""


class NoConnection(LongshoreError):
    """The platform could not be reached, or did not answer, for as long as was tried."""


class TimeIsUp(LongshoreError):
    """What was waited for has not come within the time that was given. The job goes on."""


@dataclass(frozen=True)
class FieldFault:
    """A field of the request, by its path, and what is wrong with it."""

    field: str
    description: str


class Refused(LongshoreError):
    """The platform answered, and not with what was asked for.

    `status` is HTTP's, `code` gRPC's number (0 where whoever answered was not the platform), `faults` the fields.
    """

    def __init__(self, sentence: str, *, status: int, code: int = 0, faults: tuple[FieldFault, ...] = ()) -> None:
        super().__init__(sentence)
        self.sentence = sentence
        self.status = status
        self.code = code
        self.faults = faults

    @property
    def field(self) -> str:
        """The first field that is named, or ""."""
        return self.faults[0].field if self.faults else ""


class Invalid(Refused):
    """400: the request, or the state of what it is about, does not allow it."""


class KeyRefused(Refused):
    """401: no key, or one that is not valid."""


class NotAllowed(Refused):
    """403: this user may not."""


class NotFound(Refused):
    """404: it does not exist, or belongs to another account."""


class Conflict(Refused):
    """409: it exists already, or was changed by someone else."""


class TooMuch(Refused):
    """429: a quota or a rate, for as long as was tried."""


class NotNow(Refused):
    """503: a part of the platform does not answer, for as long as was tried."""


OF_STATUS: dict[int, type[Refused]] = {
    400: Invalid,
    401: KeyRefused,
    403: NotAllowed,
    404: NotFound,
    409: Conflict,
    429: TooMuch,
    503: NotNow,
}
