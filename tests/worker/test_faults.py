"""What engines say, and what we make of it. The sentences are those that engines were seen to answer."""

from __future__ import annotations

import pytest

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
from worker.docker_engine.faults import call_fault, last_line_of, pull_fault


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ('Head "http://r:5000/v2/x/manifests/1": no basic auth credentials', RegistryDenied),
        ("unauthorized: authentication required", RegistryDenied),
        ("pull access denied for x, repository does not exist or may require 'docker login'", RegistryDenied),
        ("manifest for r:5000/x:1 not found: manifest unknown: manifest unknown", ImageNotFound),
        ('Get "http://r:5000/v2/": dial tcp 127.0.0.1:5000: connect: connection refused', RegistryUnreachable),
        ("dial tcp: lookup registry.invalid: no such host", RegistryUnusable),
        ('Get "https://r/v2/": dial tcp: lookup r on 10.0.0.1:53: server misbehaving', RegistryUnreachable),
        ("received unexpected HTTP status: 503 Service Unavailable", RegistryUnreachable),
        ('error parsing HTTP 500 response body: unexpected end of JSON input: ""', RegistryUnreachable),
        ("toomanyrequests: You have reached your pull rate limit.", RegistryBusy),
        ('error parsing HTTP 429 response body: unexpected end of JSON input: ""', RegistryBusy),
        (
            "error pulling image configuration: download failed after attempts=1: toomanyrequests: slow down",
            RegistryBusy,
        ),
        ('error parsing HTTP 403 response body: unexpected end of JSON input: ""', RegistryDenied),
        ('error parsing HTTP 404 response body: unexpected end of JSON input: ""', ImageNotFound),
        ("no matching manifest for linux/amd64 in the manifest list entries", ImagePlatformMismatch),
        ('Get "https://r/v2/": x509: certificate signed by unknown authority', RegistryUnusable),
        ("failed to register layer: write /usr/x: no space left on device", DiskFull),
        ("something new", EngineError),
    ],
)
def test_pull_fault_each_known_sentence_is_its_own_error(text: str, kind: type[EngineError]) -> None:
    error = pull_fault("r:5000/x:1", text)
    assert type(error) is kind
    assert str(error).startswith("r:5000/x:1: ")


@pytest.mark.parametrize(
    ("said", "seconds"),
    [
        ("retry-after: 612.32µs, allowed: 44000/minute", 0.00061232),
        ("retry-after: 7", 7.0),
        ("Retry after 2m", 120.0),
        ("retry-after: ..", None),
        ("You have reached your pull rate limit.", None),
    ],
)
def test_pull_fault_of_a_busy_registry_has_the_wait_that_it_asked_for(said: str, seconds: float | None) -> None:
    error = pull_fault("r:5000/x:1", f"toomanyrequests: {said}")
    assert isinstance(error, RegistryBusy)
    assert error.retry_after_seconds == pytest.approx(seconds)
    assert str(error).startswith("r:5000/x:1: the registry asks to wait (429): toomanyrequests: ")


@pytest.mark.parametrize(
    ("status", "text", "kind", "sentence"),
    [
        (
            404,
            "OCI runtime create failed: container_linux.go:380: starting container process caused: exec: "
            '"/bin/sh":'
            " stat /bin/sh: no such file or directory: unknown",
            CommandNotStarted,
            "the image has no /bin/sh",
        ),
        (400, "No command specified", CommandNotStarted, "No command specified"),
        (404, "No such container: abc", ContainerGone, "No such container: abc"),
        (500, "driver failed", EngineError, "start failed: driver failed"),
        (
            500,
            'could not select device driver "" with capabilities: [[gpu]]',
            GpuUnavailable,
            'the node cannot give it its GPU: could not select device driver "" with capabilities: [[gpu]]',
        ),
        (
            400,
            "failed to create task for container: failed to create shim task: OCI runtime create failed: "
            "runc create failed: unable to start container process: error during container init: "
            "error running prestart hook #0: exit status 1, stdout: , stderr: Auto-detected mode as 'legacy'\n"
            "nvidia-container-cli: device error: 3: unknown device: unknown",
            GpuUnavailable,
            "the node cannot give it its GPU: nvidia-container-cli: device error: 3: unknown device",
        ),
        (
            500,
            "could not apply CDI modifications: unresolvable CDI devices nvidia.com/gpu=9",
            GpuUnavailable,
            "the node cannot give it its GPU: could not apply CDI modifications: unresolvable CDI devices"
            " nvidia.com/gpu=9",
        ),
        (
            400,
            'OCI runtime create failed: exec: "nvidia-container-cli": executable file not found in $PATH: unknown',
            CommandNotStarted,
            "the image has no nvidia-container-cli",
        ),
        (
            500,
            "unable to find user nosuch: no matching entries in passwd file",
            CommandNotStarted,
            "unable to find user nosuch: no matching entries in passwd file",
        ),
        (
            400,
            "Range of CPUs is from 0.01 to 2.00, as there are only 2 CPUs available",
            EngineRefused,
            "the engine refuses this: Range of CPUs is from 0.01 to 2.00, as there are only 2 CPUs available",
        ),
        (
            400,
            "failed to create shim task: OCI runtime create failed: cgroup went away: unknown",
            EngineError,
            "start failed: cgroup went away",
        ),
        (
            500,
            "mkdir /var/lib/docker/overlay2/ab: no space left on device",
            DiskFull,
            "the node's disk is full: mkdir /var/lib/docker/overlay2/ab: no space left on device",
        ),
    ],
)
def test_call_fault_of_start_says_what_was_wrong(
    status: int, text: str, kind: type[EngineError], sentence: str
) -> None:
    error = call_fault("start", status, text)
    assert type(error) is kind
    assert str(error) == sentence


def test_last_line_of_init_that_cannot_execute_is_a_sentence() -> None:
    assert last_line_of("[FATAL tini (7)] exec /bin/sh failed: No such file or directory") == (
        "the image has no /bin/sh"
    )
    assert last_line_of("[FATAL tini (7)] exec /a failed: Permission denied") == (
        "/a cannot be executed: Permission denied"
    )
    assert last_line_of("anything else") == "anything else"
