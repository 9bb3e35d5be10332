"""The one family of errors. What a user's job does wrong is not here: that is data on a row.

`CallerError` is the caller's to mend and becomes a 4xx; `Unavailable` means "try later"; `EngineError`
becomes a reason on a rank; `Superseded` says that another holder won and the work is dropped quietly.
The HTTP status of each is decided in `api/`, nowhere else.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime


class LongshoreError(Exception):
    """Base of everything raised on purpose."""


@dataclass(frozen=True)
class FieldViolation:
    """One bad field: its wire path (`envVars.RANK`) and what would be right."""

    field: str
    description: str


class CallerError(LongshoreError):
    """The request cannot be done as asked; asking again the same way will not help."""


class InvalidArgument(CallerError):
    """One or more fields are wrong. Carries every violation found, not just the first."""

    def __init__(self, violations: Iterable[FieldViolation], message: str | None = None) -> None:
        self.violations = tuple(violations)
        super().__init__(message or "; ".join(f"{v.field}: {v.description}" for v in self.violations))

    @classmethod
    def field(cls, field: str, description: str) -> InvalidArgument:
        return cls([FieldViolation(field, description)])


class Unauthenticated(CallerError):
    """No key, or a key that is not known, expired or revoked: one answer for all."""


class PermissionDenied(CallerError):
    """The caller is known and may read, but may not do this."""


class NotFound(CallerError):
    """No such resource, or another account's: the two are indistinguishable on purpose."""


class OutputRemoved(NotFound):
    """`what` an ended attempt left was there, and its retention is over; it does not come back."""

    def __init__(self, what: str, removed_at: datetime, because: str) -> None:
        self.removed_at = removed_at.astimezone(UTC)
        super().__init__(f"{what} was removed on {self.removed_at:%Y-%m-%d}: {because}")


class AlreadyExists(CallerError):
    """The id is taken."""


class FailedPrecondition(CallerError):
    """The resource is in a state that does not allow this."""


class ResourceExhausted(CallerError):
    """A limit or quota is reached. `retry_after_seconds`, where it is known, is when to ask again."""

    def __init__(self, message: str, *, retry_after_seconds: int | None = None) -> None:
        self.retry_after_seconds = retry_after_seconds
        super().__init__(message)


class LiveJobsSpent(ResourceExhausted):
    """The account has all the jobs that it may have under way: another is refused, whatever it is."""


class NotImplementedYet(CallerError):
    """A field or call of the contract that this version does not serve; it is refused, never ignored."""


class Unavailable(LongshoreError):
    """Something that we depend on does not answer now; the same request may succeed later."""


class NoObjectStore(Unavailable):
    """What is asked for is in the object store, and this process has not been told where that is."""


class EngineError(LongshoreError):
    """An engine refused or failed. `reason` is the machine's code, the message a sentence for a person."""

    reason = "ENGINE_ERROR"


class EngineRefused(EngineError):
    """What was asked of the engine is wrong in itself: more CPUs than it has, say."""

    reason = "ENGINE_REFUSED"


class HostAddressUnknown(EngineError):
    """A gang is to be on the hosts' own networks, and nobody has said how one of the hosts is reached."""

    reason = "HOST_ADDRESS_UNKNOWN"


class DiskFull(EngineError):
    """The node has no room, or no inodes, for an image or a container."""

    reason = "DISK_FULL"


class NameTaken(EngineError):
    """Something that is not ours bears the name of a container that was to be made."""

    reason = "NAME_TAKEN"


class GpuUnavailable(EngineError):
    """The engine cannot give a container the GPU that is reserved for it on that node."""

    reason = "GPU_UNAVAILABLE"


class ImageNotFound(EngineError):
    reason = "IMAGE_NOT_FOUND"


class ImageDiffers(EngineError):
    """A node has another image of that name than the job runs, and no registry that it could be had from."""

    reason = "IMAGE_DIFFERS"


class RegistryDenied(EngineError):
    reason = "REGISTRY_DENIED"


class RegistryUnreachable(EngineError):
    """The registry does not answer, or not sensibly. Asking again may help, where `passes`."""

    reason = "REGISTRY_UNREACHABLE"
    passes = True


class RegistryBusy(RegistryUnreachable):
    """The registry asks to wait (429); `retry_after_seconds` is how long, where it is known."""

    reason = "REGISTRY_BUSY"
    retry_after_seconds: float | None = None


class RegistryUnusable(RegistryUnreachable):
    """There is no registry of that name, or none that is trusted: somebody has to mend that first."""

    passes = False


class ImagePlatformMismatch(EngineError):
    reason = "IMAGE_PLATFORM_MISMATCH"


class CommandNotStarted(EngineError):
    """The container's first process could not be executed: no such file, not executable, no directory."""

    reason = "COMMAND_NOT_STARTED"


class ContainerGone(EngineError):
    """The container that was asked about does not exist (any more)."""

    reason = "CONTAINER_GONE"


class StartInDoubt(EngineError):
    """The engine died while it was starting the container, and does not know whether it did."""

    reason = "ENGINE_RESTARTED"


class NodeUnreachable(EngineError, Unavailable):
    """The engine did not answer. This decides nothing about what runs there."""

    reason = "NODE_UNREACHABLE"


class Superseded(LongshoreError):
    """A guarded update touched no row: someone else moved the state first."""


class OtherImageFixed(LongshoreError):
    """Meanwhile another node has fixed which image a gang runs, and it is not the one that was used here."""
