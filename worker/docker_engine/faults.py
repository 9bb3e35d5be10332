"""What an engine's refusals mean: the one table from Docker's words to our errors. Pure.

Engines answer most registry faults with status 500 and a sentence, so the sentence is what is read.
"""

from __future__ import annotations

import re

from core.errors import (
    CommandNotStarted,
    ContainerGone,
    DiskFull,
    EngineError,
    EngineRefused,
    GpuUnavailable,
    ImageNotFound,
    ImagePlatformMismatch,
    RegistryBusy,
    RegistryDenied,
    RegistryUnreachable,
    RegistryUnusable,
)

_TABLE: tuple[tuple[re.Pattern[str], type[EngineError], str], ...] = tuple(
    (re.compile(pattern, re.IGNORECASE), kind, sentence)
    for pattern, kind, sentence in (
        (r"\bx509: ", RegistryUnusable, "the registry's certificate is not trusted"),
        (r"server gave HTTP response to HTTPS client", RegistryUnusable, "the registry speaks no TLS"),
        (r"dial tcp: lookup \S+.*: no such host", RegistryUnusable, "there is no registry of that name"),
        # Before what its own words may say: they are anything.
        (
            r"toomanyrequests|too many requests|HTTP 429\b|HTTP status: 429",
            RegistryBusy,
            "the registry asks to wait (429)",
        ),
        (
            r"no matching manifest for|does not match the specified platform|exec format error",
            ImagePlatformMismatch,
            "the image is not made for this node's platform",
        ),
        (
            r"no basic auth credentials|HTTP (?:status: )?40[13]\b|unauthorized|authentication required"
            r"|incorrect username or password|access to the resource is denied|pull access denied|denied:",
            RegistryDenied,
            "the registry refuses access to the image",
        ),
        (
            r"HTTP (?:status: )?404\b|manifest unknown|unknown blob|manifest for .* not found"
            r"|repository name not known|name unknown|no such image|repository .* not found",
            ImageNotFound,
            "the registry has no such image",
        ),
        (
            r"connection refused|i/o timeout|TLS handshake|server misbehaving|connection reset"
            r"|network is unreachable|no route to host|context deadline exceeded|awaiting headers|\bEOF\b"
            r"|temporary failure in name resolution|HTTP (?:status: )?5\d\d\b|lame referral",
            RegistryUnreachable,
            "the registry does not answer",
        ),
    )
)
#: What an engine's words still have of a registry's Retry-After: its own sentence, as some write it.
_RETRY_AFTER = re.compile(r"retry[- ]after:?\s*(?P<length>[\d.]+)\s*(?P<unit>ns|us|µs|ms|s|m|h)?\b", re.IGNORECASE)
_UNIT_SECONDS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_DISK_FULL = re.compile(r"no space left on device|disk quota exceeded", re.IGNORECASE)
#: The engine has no driver for GPUs, or the driver's tools refuse. Theirs come as the runtime's refusal to start
#: the container, which else means that its command cannot be run; a command of their name stands in quotes.
_GPU = re.compile(r"could not select device driver|nvidia-container-[\w-]+: |CDI devices? ", re.IGNORECASE)
#: What the engine's own runtime failed at is not the request's fault, although some engines answer it with 400.
_RUNTIME = re.compile(r"OCI runtime|runc|containerd|shim", re.IGNORECASE)
_START = re.compile(
    r"exec(?:ve)?: |executable file not found|no such file or directory|permission denied|is a directory"
    r"|starting container process|No command specified|chdir to cwd|not a directory"
    r"|unable to find (?:user|group) ",
    re.IGNORECASE,
)
_INIT = re.compile(r"^\[FATAL tini \(\d+\)\] exec (?P<file>\S+) failed: (?P<why>.*)$")
_NOISE = re.compile(
    r"OCI runtime create failed: |failed to create (?:shim(?: task)?|task for container): "
    r"|runc create failed: |container_linux\.go:\d+: |process_linux\.go:\d+: |: unknown$"
    r"|starting container process caused: |unable to start container process: |Error response from daemon: "
)


def pull_fault(image: str, text: str) -> EngineError:
    """Why a pull failed, as one of our errors with a sentence that names the image."""
    if _DISK_FULL.search(text):
        return DiskFull(f"{image}: the node's disk is full: {_first_line(text)}")
    for pattern, kind, sentence in _TABLE:
        if pattern.search(text):
            error = kind(f"{image}: {sentence}: {_first_line(text)}")
            if isinstance(error, RegistryBusy):
                error.retry_after_seconds = _retry_after_seconds(text)
            return error
    return EngineError(f"{image}: the pull failed: {_first_line(text)}")


def _retry_after_seconds(text: str) -> float | None:
    match = _RETRY_AFTER.search(text)
    if match is None:
        return None
    try:
        return float(match["length"]) * _UNIT_SECONDS[(match["unit"] or "s").lower()]
    except ValueError:
        return None


def call_fault(what: str, status: int, text: str) -> EngineError:
    """Why a create, start, or other call failed."""
    detail = _NOISE.sub("", _first_line(text))
    if _DISK_FULL.search(text):
        return DiskFull(f"the node's disk is full: {detail}")
    if what in ("create", "start"):
        if _GPU.search(text):
            said = next(line.strip() for line in text.splitlines() if _GPU.search(line))
            return GpuUnavailable(f"the node cannot give it its GPU: {_NOISE.sub('', said)}")
        if re.search("exec format error", text, re.IGNORECASE):
            return ImagePlatformMismatch(f"the image is not made for this node's platform: {detail}")
        if "No such image" in text:
            return ImageNotFound(detail)
        if _START.search(text) and "No such container" not in text:
            return CommandNotStarted(_command_sentence(detail))
        if status == 400 and _RUNTIME.search(text) is None:
            return EngineRefused(f"the engine refuses this: {detail}")
    if status == 404:
        return ContainerGone(detail)
    return EngineError(f"{what} failed: {detail}")


def last_line_of(line: str) -> str:
    """A container's last line, in our words where it is the engine's init that speaks.

    With an init as PID 1 a command that does not exist is found out inside the container: its start succeeds.
    """
    match = _INIT.search(line)
    if match is None:
        return line
    if match["why"].startswith("No such file"):
        return f"the image has no {match['file']}"
    return f"{match['file']} cannot be executed: {match['why']}"


def _command_sentence(detail: str) -> str:
    match = re.search(r'exec: "(?P<file>[^"]*)": (?P<why>.*)', detail)
    if match is None:
        return detail
    why = match["why"]
    if "not found" in why or "no such file" in why:
        return f"the image has no {match['file']}"
    return f"{match['file']} cannot be executed: {why}"


def _first_line(text: str) -> str:
    return text.strip().splitlines()[0] if text.strip() else "no reason given"
