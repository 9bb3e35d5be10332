"""The Python client and the command line: speaks HTTP and nothing else.

    from client import Longshore

    with Longshore() as longshore:
        job = longshore.submit(image="longshore/python:3", ranks=2, shell="echo hello from $RANK")
        for entry in job.follow():
            print(entry.rank, entry.message)
        print(job.wait().status)

`calls` says what can be asked, `reads` what is answered, `exchange` how the two meet. `command_line` is the
command `longshore`.
"""

from client.calls.job_body import JobArguments
from client.calls.job_verbs import AsyncJob, Job
from client.errors import (
    Conflict,
    FieldFault,
    Invalid,
    KeyRefused,
    LongshoreError,
    NoConnection,
    NotAllowed,
    NotFound,
    NotNow,
    NotSendable,
    Refused,
    SettingsMissing,
    TimeIsUp,
    TooMuch,
)
from client.longshore import AsyncLongshore, Longshore

__all__ = [
    "AsyncJob",
    "AsyncLongshore",
    "Conflict",
    "FieldFault",
    "Invalid",
    "Job",
    "JobArguments",
    "KeyRefused",
    "Longshore",
    "LongshoreError",
    "NoConnection",
    "NotAllowed",
    "NotFound",
    "NotNow",
    "NotSendable",
    "Refused",
    "SettingsMissing",
    "TimeIsUp",
    "TooMuch",
]
