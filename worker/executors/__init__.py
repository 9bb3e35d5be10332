"""Spec and rank → what a container runs. Pure: python, notebook, shell, or the image's own command."""

from __future__ import annotations

from core.spec import JobSpec, NotebookExecutor, PythonExecutor, ShellExecutor
from worker.executors.invocation import Invocation
from worker.executors.notebook import notebook_invocation
from worker.executors.python import python_invocation
from worker.executors.shell import shell_invocation


def invocation_of(spec: JobSpec) -> Invocation:
    """How a job's ranks are run in their image."""
    match spec.executor:
        case PythonExecutor():
            return python_invocation(spec.executor)
        case NotebookExecutor():
            return notebook_invocation(spec.executor)
        case ShellExecutor():
            return shell_invocation(spec.executor)
        case None:
            return Invocation("image", None, ())
