"""The first image has one id, whoever builds it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import docker
import pytest

from deploy.base_image import PYTHON_IMAGE, has_image
from deploy.packages import can_install
from tests.lab.platform import ENGINE

BUILD = """
import docker, sys
from deploy.base_image import build_python_image
build_python_image(docker.DockerClient(base_url=sys.argv[1]), "this is a test")
"""
CHECKOUT = Path(__file__).parents[2]


@pytest.mark.slow
@pytest.mark.skipif(not can_install(), reason="building the image needs root on Debian")
def test_builds_by_users_of_other_settings_have_one_id(tmp_path: Path) -> None:
    engine = docker.DockerClient(base_url=ENGINE)
    before = engine.images.get(PYTHON_IMAGE) if has_image(engine, PYTHON_IMAGE) else None
    ids = []
    try:
        for settings, mask in (
            ({}, 0o022),
            ({"PYTHONPYCACHEPREFIX": str(tmp_path), "LC_ALL": "C.UTF-8", "TZ": "Asia/Tokyo"}, 0o077),
        ):
            subprocess.run(
                [sys.executable, "-c", BUILD, ENGINE],
                check=True, umask=mask, timeout=600,
                env={"PATH": os.environ["PATH"], "PYTHONPATH": str(CHECKOUT)} | settings,
            )  # fmt: skip
            ids.append(engine.images.get(PYTHON_IMAGE).id)
    finally:
        if before is not None:
            before.tag(*PYTHON_IMAGE.split(":"))
        engine.close()
    assert ids[0] == ids[1]
