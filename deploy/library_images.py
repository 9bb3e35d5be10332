"""`longshore/notebook:3` and the samples' image: libraries come from the host, no image needs a network."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import docker
from docker.errors import APIError

from deploy.base_image import PYTHON_IMAGE, has_image
from deploy.processes import SetupError, run
from deploy.steps import require

NOTEBOOK_IMAGE = "longshore/notebook:3"
SAMPLES_REPOSITORY = "longshore/samples"
_REQUIREMENTS = Path(__file__).parent / "images/notebook-requirements.txt"
_SAMPLES = Path(__file__).parent / "samples"
#: What jobs import first. Importing it compiles it; else every container would compile pandas again.
_IMPORTS = (
    "import papermill.cli, ipykernel.kernelapp, nbclient, pandas, sklearn.datasets, sklearn.ensemble, "
    "sklearn.linear_model, sklearn.metrics, sklearn.model_selection, sklearn.neural_network, sklearn.svm, "
    "matplotlib.pyplot, matplotlib_inline.backend_inline, IPython.core.completer; "
    "from jupyter_client.kernelspec import get_kernel_spec; get_kernel_spec('python3')"
)
_ASK = (
    "import json, sys, sysconfig; "
    "print(json.dumps(['%d.%d' % sys.version_info[:2], sysconfig.get_path('purelib')]))"
)


def ensure_notebook_image(engine: docker.DockerClient) -> str:
    """Make NOTEBOOK_IMAGE exist on the engine; a phrase that says how."""
    if has_image(engine, NOTEBOOK_IMAGE):
        return f"{NOTEBOOK_IMAGE} is there"
    version, site = python_of(engine, PYTHON_IMAGE)
    with tempfile.TemporaryDirectory(prefix="longshore-notebook-") as folder:
        root = Path(folder)
        packages = root / site.lstrip("/")
        install_for(version, _REQUIREMENTS, packages)
        _spread(packages, root / "usr/local")
        # Jupyter, IPython and matplotlib write below HOME, and a user without an entry in /etc/passwd has `/`.
        layer(engine, PYTHON_IMAGE, root, NOTEBOOK_IMAGE, check=_IMPORTS, changes=["ENV HOME=/tmp"])
    return f"{NOTEBOOK_IMAGE} built for Python {version}"


def ensure_samples_image(engine: docker.DockerClient) -> str:
    """Make the samples' image exist; its name, whose tag is a digest of what is in it."""
    digest = hashlib.sha256()
    for file in sorted(_SAMPLES.iterdir()):
        if file.is_file():
            digest.update(file.name.encode() + b"\0" + file.read_bytes())
    digest.update(str(engine.images.get(NOTEBOOK_IMAGE).id).encode())
    name = f"{SAMPLES_REPOSITORY}:{digest.hexdigest()[:12]}"
    if not has_image(engine, name):
        with tempfile.TemporaryDirectory(prefix="longshore-samples-") as folder:
            root = Path(folder)
            shutil.copytree(_SAMPLES, root / "samples", ignore=shutil.ignore_patterns("__pycache__"))
            layer(engine, NOTEBOOK_IMAGE, root, name, changes=["WORKDIR /samples"])
        engine.images.get(name).tag(SAMPLES_REPOSITORY, "3")
    return name


def python_of(engine: docker.DockerClient, image: str) -> tuple[str, str]:
    """An image's Python: its version as X.Y and the folder that its packages go to."""
    said = engine.containers.run(image, ["python3", "-c", _ASK], remove=True, network_mode="none")
    version, site = json.loads(said)
    return version, site


def install_for(version: str, requirements: Path, target: Path, *, hashed: bool = False) -> None:
    """Install requirements for a Linux Python `version` of this machine's kind into a folder of the host.

    On the host, because there the package index is configured and reachable; a container may have neither.
    """
    beside = Path(sys.executable).parent / "uv"
    uv = str(beside) if beside.exists() else shutil.which("uv")
    wants = [
        "--python-version",
        version,
        "--only-binary",
        ":all:",
        "--target",
        str(target),
        "-r",
        str(requirements),
    ]
    if hashed:
        wants.append("--require-hashes")
    if wheels := os.environ.get("LONGSHORE_WHEELS"):
        wants += ["--no-index", "--find-links", wheels]
    if uv:
        command = [
            uv,
            "pip",
            "install",
            "-q",
            "--python",
            sys.executable,
            "--python-platform",
            "linux",
            *wants,
        ]
    else:
        command = [sys.executable, "-m", "pip", "install", "-q", *wants]
    result = run(command)
    if result.returncode != 0:
        last = " | ".join(result.stdout.decode("utf-8", "replace").strip().splitlines()[-4:])
        raise SetupError(
            f"the packages of {requirements.name} cannot be installed; see pip's configuration: {last}"
        )


def layer(
    engine: docker.DockerClient,
    image: str,
    root: Path,
    name: str,
    *,
    check: str = "",
    changes: Sequence[str] = (),
) -> None:
    """Lay a file tree over an image, run a Python statement in it that must succeed, and name the result.

    A build from a Dockerfile does the same in twice the time: it writes and reads such a tree three times.
    """
    container = engine.containers.create(image, ["sleep", "600"], network_mode="none", init=True)
    try:
        with subprocess.Popen(
            ["tar", "-C", str(root), "--owner=0", "--group=0", "-c", "."], stdout=subprocess.PIPE
        ) as tar:
            assert tar.stdout is not None
            container.put_archive("/", tar.stdout)
        if check:
            container.start()
            code, said = container.exec_run(["python3", "-c", check])
            last = bytes(said).decode("utf-8", "replace").strip()[-300:]  # type: ignore[arg-type]
            require(
                code == 0, f"what was installed into {name} does not run; remove {image} and try again: {last}"
            )
        repository, _, tag = name.rpartition(":")
        # The container's own command must not become the image's.
        engine.api.commit(
            str(container.id), repository, tag, changes=['CMD ["python3"]', "ENTRYPOINT []", *changes]
        )
    except APIError as error:
        said_why = error.explanation or error
        raise SetupError(f"the engine did not make {name}: {said_why}; see that its disk has room") from error
    finally:
        container.remove(force=True)


def _spread(packages: Path, prefix: Path) -> None:
    """Move programs and shared files, which `--target` puts beside the packages, to where they are found."""
    for name in ("bin", "share"):
        shutil.copytree(packages / name, prefix / name, dirs_exist_ok=True)
        shutil.rmtree(packages / name)
    for script in (prefix / "bin").iterdir():
        first, _, rest = script.read_bytes().partition(b"\n")
        if rest.startswith(b"'''exec'"):  # How a shebang that would be too long is written.
            rest = rest.split(b"\n", 2)[2]
        if first.startswith(b"#!"):
            script.write_bytes(b"#!/usr/bin/env python3\n" + rest)
    # Tests of the libraries: never imported by a job, and a fifth of the files.
    for package in ("pandas", "numpy", "matplotlib", "sklearn"):
        shutil.rmtree(packages / package / "tests", ignore_errors=True)
