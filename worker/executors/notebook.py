"""A notebook by papermill in the image, its cells' output printed as it comes, the executed one kept.

papermill refuses a notebook whose metadata names no kernel or no language, so both are given where they are
missing; a kernel that is named and not installed is papermill's own, clear, refusal.
"""

from __future__ import annotations

import orjson

from core.spec import NotebookExecutor
from worker.executors.invocation import FIND_PYTHON, NOT_FOUND, UNBUFFERED, Invocation
from worker.output_folder import MAKE_FOLDER

#: Where papermill writes; in the container's own file system, so that it can be read after the end.
EXECUTED_NOTEBOOK = "/tmp/longshore/notebook.ipynb"  # noqa: S108  # a path inside the rank's container
#: How long output may still come once a cell has ended. papermill's command gives it 4 s, in which 50 MB are not
#: through on a busy host, and fails the notebook.
_LAST_OUTPUT_SECONDS = 600
#: As papermill's command exits.
_DEAD_KERNEL = 138

_PROGRAM = f"""
import importlib.util, json, os, sys
os.environ.setdefault("PYDEVD_DISABLE_FILE_VALIDATION", "1")
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
import logging, traceback
from nbclient.exceptions import DeadKernelError
from papermill import execute_notebook
given = {{}}
kernel = metadata.get("kernelspec") or {{}}
if not kernel.get("name"):
    given["kernel_name"] = "python3"
if not kernel.get("language") and not (metadata.get("language_info") or {{}}).get("name"):
    given["language"] = "python"
logging.basicConfig(level="INFO", format="%(message)s")
try:
    execute_notebook(path, "{EXECUTED_NOTEBOOK}", json.loads(parameters), progress_bar=False, log_output=True,
                     autosave_cell_every=5, start_timeout=180, iopub_timeout={_LAST_OUTPUT_SECONDS}, **given)
except DeadKernelError:
    traceback.print_exc()
    raise SystemExit({_DEAD_KERNEL})
"""


def notebook_invocation(executor: NotebookExecutor) -> Invocation:
    """By papermill's function, not its command: the command cannot be told how long output may take, and reads
    parameters as YAML, in which not all that JSON calls a number is one."""
    return Invocation(
        "notebook",
        ("/bin/sh", "-c"),
        (
            f'{MAKE_FOLDER}\n{FIND_PYTHON}\nexec "$py" -c "$@"',
            "longshore",
            _PROGRAM,
            executor.notebook_filename,
            orjson.dumps(dict(executor.parameters)).decode(),
        ),
        UNBUFFERED,
        makes_output_folder=True,
    )
