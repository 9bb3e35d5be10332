"""What `tests/run` does: an engine, the images and Debian packages that tests need, then pytest.

The engine is stopped at the end if it was started here; Postgres, Valkey, the registry and the platforms are
started and ended by the fixtures that use them.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from deploy import packages
from deploy.base_image import ensure_python_image
from deploy.engine import ensure_engine, stop_engine
from deploy.home import Home
from deploy.library_images import ensure_notebook_image
from deploy.processes import SetupError
from deploy.steps import step

#: What the tests' labs are made of: images, a registry and its passwords, SSH, clocks that are wrong.
PACKAGES = (
    "busybox-static",
    "docker-registry",
    "apache2-utils",
    "openssh-client",
    "openssh-server",
    "libfaketime",
)


def main() -> int:
    """Set up, run pytest with the arguments given, clean up; pytest's exit status."""
    try:
        # The compose client is only for the stack's own test, on machines that have none.
        with prepared(*PACKAGES, "docker-compose", notebooks=True):
            return int(pytest.main(sys.argv[1:]))
    except SetupError as error:
        print(f"tests/run: {error}", file=sys.stderr)
        return 1


@contextmanager
def prepared(*wanted: str, notebooks: bool = False) -> Iterator[None]:
    """An engine, Debian packages and images; what was started is ended afterwards. Raises SetupError."""
    # Whoever ends this run, by whatever signal it sends first, gets everything ended that was started.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    home = Home.from_environment()
    try:
        with step("engine") as this:
            engine = ensure_engine(home)
            this.result = f"Docker {engine.version} {engine.how}"
        with step("packages") as this:
            this.result = ", ".join(packages.install(*wanted)) or "are there"
        if notebooks:
            with step("images") as this:
                this.result = f"{ensure_python_image(engine.client)}; {ensure_notebook_image(engine.client)}"
        engine.client.close()
        yield
    finally:
        stop_engine(home)


if __name__ == "__main__":
    sys.exit(main())
