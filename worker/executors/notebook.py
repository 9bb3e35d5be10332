"""A notebook by papermill in the image, its cells' output printed as it comes, the executed one kept.

papermill refuses a notebook whose metadata names no kernel or no language, so both are given where they are
missing; a kernel that is named and not installed is papermill's own, clear, refusal.
"""

from __future__ import annotations

import orjson

from core.spec import NotebookExecutor
from worker.executors.invocation import FIND_PYTHON, NOT_FOUND, UNBUFFERED, Invocation

#: Where papermill writes; in the container's own file system, so that it can be read after the end.
EXECUTED_NOTEBOOK = "/tmp/longshore/notebook.ipynb"  # noqa: S108  # a path inside the rank's container

_PROGRAM = f"""
import importlib.util, json, os, sys
def refuse(sentence, code={NOT_FOUND}):
    print(sentence, file=sys.stderr)
    raise SystemExit(code)
path, parameters = sys.argv[1], sys.argv[2]
if not os.path.isfile(path):
    refuse(f"there is no notebook {{path}} in the image (working directory: {{os.getcwd()}})")
try:
    with open(path, encoding="utf-8") as file:
        metadata = json.load(file).get("metadata") or {{}}
except (ValueError, AttributeError) as error:
    refuse(f"{{path}} is not a notebook: {{error}}", 1)
if importlib.util.find_spec("papermill") is None:
    refuse("the image has no papermill, which runs notebooks: install it in the image")
os.makedirs(os.path.dirname("{EXECUTED_NOTEBOOK}"), exist_ok=True)
command = [sys.executable, "-m", "papermill", path, "{EXECUTED_NOTEBOOK}", "--log-output", "--no-progress-bar",
           "--autosave-cell-every", "5", "--start-timeout", "180"]
kernel = metadata.get("kernelspec") or {{}}
if not kernel.get("name"):
    command += ["--kernel", "python3"]
if not kernel.get("language") and not (metadata.get("language_info") or {{}}).get("name"):
    command += ["--language", "python"]
if json.loads(parameters):
    command += ["--parameters_yaml", parameters]
os.execv(sys.executable, command)
"""


def notebook_invocation(executor: NotebookExecutor) -> Invocation:
    """JSON is YAML, so parameters keep their types on the way through papermill's YAML option."""
    return Invocation(
        "notebook",
        ("/bin/sh", "-c"),
        (
            f'{FIND_PYTHON}\nexec "$py" -c "$@"',
            "longshore",
            _PROGRAM,
            executor.notebook_filename,
            orjson.dumps(dict(executor.parameters)).decode(),
        ),
        UNBUFFERED,
    )
