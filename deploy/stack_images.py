"""The images of the stack, its proxy's too, on local bases, for hosts where no registry answers, and for its test.

`python -m deploy.stack_images` makes them on the engine and prints the variables that name them.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import docker
from docker.errors import APIError, BuildError

from deploy.base_image import PYTHON_IMAGE, ensure_python_image
from deploy.embedded.postgres import find_programs
from deploy.embedded.valkey import find_program
from deploy.engine import reach
from deploy.home import CHECKOUT
from deploy.library_images import install_for, layer, python_of
from deploy.packages import unpack
from deploy.processes import SetupError

LONGSHORE_IMAGE = "longshore/longshore:latest"
POSTGRES_IMAGE = "longshore/postgres:local"
REDIS_IMAGE = "longshore/redis:local"
NGINX_IMAGE = "longshore/nginx:local"

_IMAGES = Path(__file__).parent / "images"
_ROOMS = ("api", "client", "core", "deploy", "migrations", "worker")
#: Debian's `nobody`: Postgres wants a user with an entry in /etc/passwd.
_NOBODY = 65534


def build_stack_images(engine: docker.DockerClient) -> dict[str, str]:
    """Make all four; the variables by which the compose files find them."""
    ensure_python_image(engine)
    _build_postgres(engine)
    _build_redis(engine)
    _build_nginx(engine)
    _build_longshore(engine)
    return {
        "LONGSHORE_IMAGE": LONGSHORE_IMAGE,
        "LONGSHORE_POSTGRES_IMAGE": POSTGRES_IMAGE,
        "LONGSHORE_REDIS_IMAGE": REDIS_IMAGE,
        "LONGSHORE_NGINX_IMAGE": NGINX_IMAGE,
    }


def _build_longshore(engine: docker.DockerClient) -> None:
    """The same Dockerfile as everywhere; only its packages are brought along."""
    version, _ = python_of(engine, PYTHON_IMAGE)
    with tempfile.TemporaryDirectory(prefix="longshore-stack-") as folder:
        context = Path(folder)
        for room in _ROOMS:
            shutil.copytree(CHECKOUT / room, context / room, ignore=shutil.ignore_patterns("__pycache__"))
        install_for(version, _IMAGES / "longshore-requirements.txt", context / "site", hashed=True)
        _build(engine, context, "deploy/images/Dockerfile.longshore", LONGSHORE_IMAGE)


def _build_postgres(engine: docker.DockerClient) -> None:
    site, parts = find_programs()
    with tempfile.TemporaryDirectory(prefix="longshore-postgres-") as folder:
        root = Path(folder)
        for part in parts:
            shutil.copytree(site / part, root / "opt/postgres" / part, symlinks=True)
        _script(root, "postgres-entrypoint")
        layer(
            engine,
            PYTHON_IMAGE,
            root,
            POSTGRES_IMAGE,
            check=_owned("/var/lib/postgresql/data"),
            changes=[
                f"ENV PATH=/opt/postgres/{parts[0]}/bin:/usr/local/bin:/usr/bin:/bin",
                'ENTRYPOINT ["postgres-entrypoint"]',
                "CMD []",
                f"USER {_NOBODY}",
                "EXPOSE 5432",
            ],
        )


def _build_redis(engine: docker.DockerClient) -> None:
    with tempfile.TemporaryDirectory(prefix="longshore-redis-") as folder:
        root = Path(folder)
        _script(root, "valkey-cli")
        shutil.copy(find_program(), root / "usr/local/bin/valkey-server")
        layer(
            engine,
            PYTHON_IMAGE,
            root,
            REDIS_IMAGE,
            check=_owned("/data"),
            # Protected mode refuses other hosts unless there is a password; the stack file sets one.
            changes=["WORKDIR /data", 'CMD ["valkey-server"]', f"USER {_NOBODY}", "EXPOSE 6379"],
        )


def _build_nginx(engine: docker.DockerClient) -> None:
    """Debian's program alone; its libraries are in every image of Debian's."""
    with tempfile.TemporaryDirectory(prefix="longshore-nginx-") as folder:
        root, unpacked = Path(folder) / "root", Path(folder) / "unpacked"
        unpack("nginx", unpacked)
        (root / "usr/sbin").mkdir(parents=True)
        shutil.copy(unpacked / "usr/sbin/nginx", root / "usr/sbin")
        layer(
            engine,
            PYTHON_IMAGE,
            root,
            NGINX_IMAGE,
            check="import subprocess; subprocess.run(['nginx', '-v'], check=True)",
            changes=['CMD ["nginx", "-g", "daemon off;"]', "EXPOSE 80 443"],
        )


def _script(root: Path, name: str) -> None:
    folder = root / "usr/local/bin"
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copy(_IMAGES / "local" / name, folder)


def _owned(folder: str) -> str:
    """A statement that makes a data folder; a new volume mounted there takes its owner over."""
    return (
        f"import os; folder = {folder!r}; os.makedirs(folder); os.chmod(folder, 0o700); "
        f"os.chown(folder, {_NOBODY}, {_NOBODY})"
    )


def _build(engine: docker.DockerClient, context: Path, dockerfile: str, name: str) -> None:
    try:
        engine.images.build(
            path=str(context),
            dockerfile=dockerfile,
            tag=name,
            buildargs={"BASE_IMAGE": PYTHON_IMAGE},
            rm=True,
            forcerm=True,
            network_mode="none",
        )
    except BuildError as error:
        said = [
            str(line.get("stream") or line.get("error") or "").strip()
            for line in error.build_log
            if isinstance(line, dict)
        ]
        raise SetupError(f"the image {name} was not built: {' | '.join(filter(None, said[-6:]))}") from error
    except APIError as error:
        raise SetupError(f"the engine refused to build {name}: {error.explanation or error}") from error


def main() -> None:
    """Build, and print what to export."""
    engine = reach()
    if engine is None:
        raise SystemExit("no engine answers; start one with deploy/up")
    try:
        for name, image in build_stack_images(engine).items():
            print(f"export {name}={image}")
    except SetupError as error:
        raise SystemExit(str(error)) from error


if __name__ == "__main__":
    main()
