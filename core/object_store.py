"""Where what ended jobs left is kept at rest: a local folder, or a bucket of S3, Google or Azure. Paths and bytes.

A path is written whole or not at all, and once `write` has returned it outlives the machine's power. Nothing here
knows what is in an object or which row it belongs to.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import unquote, urlsplit

import obstore
from obstore.exceptions import BaseError, InvalidPathError
from obstore.store import LocalStore, from_url

from core.errors import NotFound, Unavailable

#: Objects larger than this are sent in parts of this size, a few at a time: what one write holds in memory.
_PART_BYTES, _PARTS_AT_ONCE = 8 << 20, 4
#: A single request is repeated for so long; whoever writes or reads knows better what to do after that.
_RETRIED_FOR = timedelta(seconds=20)
#: What providers answer, with 404, where the bucket itself is missing: that says nothing of the objects in it.
_NO_BUCKET = ("NoSuchBucket", "ContainerNotFound", "bucket does not exist")
#: Of a list, and of a reading, what is asked for at a time.
_NAMES, _READ_BYTES = 1000, 1 << 20


class ObjectStore:
    """One store. Safe to share between threads.

    `url` is `file:///folder` (made where it is missing), `s3://bucket/prefix`, `gs://…` or `az://…`; credentials,
    region and endpoint are the provider's own variables (`AWS_…`). Raises ValueError for any other.
    Every call raises Unavailable where the store does not answer or refuses, which a repeat may mend.
    """

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._folder = Path(unquote(parts.path)) if parts.scheme == "file" else None
        if parts.scheme not in ("file", "s3", "gs", "az") or (self._folder is None and not parts.netloc):
            raise ValueError(f"must be file:///folder, s3://bucket/prefix, gs:// or az://, not {url!r}")
        if self._folder is None:
            with _translated(url):
                self._store = from_url(url, retry_config={"max_retries": 5, "retry_timeout": _RETRIED_FOR})
        else:
            # Folders go with the last that is in them: each job that was deleted would leave some else.
            self._store = LocalStore(self._folder, mkdir=True, automatic_cleanup=True)

    def write(self, path: str, parts: Iterable[bytes]) -> int:
        """Make an object of these parts, in place of one that is there; its size in bytes."""
        size = 0

        def counted() -> Iterator[bytes]:
            nonlocal size
            for part in parts:
                size += len(part)
                yield part

        with _translated(path):
            obstore.put(
                self._store,
                path,
                counted(),
                use_multipart=True,
                chunk_size=_PART_BYTES,
                max_concurrency=_PARTS_AT_ONCE,
            )
        if self._folder is not None:
            _keep(self._folder, path)
        return size

    def read(self, path: str, *, start: int = 0, length: int | None = None) -> bytes:
        """An object, or `length` bytes of it from `start` on. Raises NotFound."""
        with _translated(path):
            if length is None:
                return bytes(obstore.get(self._store, path).bytes())[start:]
            return bytes(obstore.get_range(self._store, path, start=start, length=length))

    def stream(self, path: str) -> Iterator[bytes]:
        """An object in pieces of a bounded size. Raises NotFound."""
        with _translated(path):
            for piece in obstore.get(self._store, path).stream(min_chunk_size=_READ_BYTES):
                yield bytes(piece)

    def stream_range(self, path: str, *, start: int, length: int) -> Iterator[bytes]:
        """`length` bytes of an object from `start` on, in pieces of a bounded size. Raises NotFound."""
        end = start + length
        while start < end:
            piece = self.read(path, start=start, length=min(_READ_BYTES, end - start))
            if not piece:
                raise Unavailable(f"the object {path} is shorter than it was written")
            start += len(piece)
            yield piece

    def remove(self, paths: Iterable[str]) -> None:
        """Remove objects; those that are not there are no fault."""
        for path in paths:
            try:
                with _translated(path):
                    obstore.delete(self._store, path)
            except NotFound:
                continue

    def paths_below(self, folder: str, *, older_than_seconds: float = 0.0) -> Iterator[str]:
        """The objects below a folder (`logs/`), in no order; those that were written so long ago, by the store's
        clock and ours."""
        until = datetime.now(UTC) - timedelta(seconds=older_than_seconds)
        with _translated(folder):
            for some in obstore.list(self._store, prefix=folder, chunk_size=_NAMES):
                for each in some:
                    if not older_than_seconds or each["last_modified"] < until:
                        yield each["path"]


@contextmanager
def _translated(path: str) -> Iterator[None]:
    try:
        yield
    except InvalidPathError:
        raise
    except (BaseError, OSError) as error:
        said = str(error).strip()
        if any(words in said for words in _NO_BUCKET):
            raise Unavailable(f"the object store has no bucket, so it does not answer for {path}") from error
        if isinstance(error, FileNotFoundError):
            raise NotFound(f"the object store has no {path}") from error
        first = said.splitlines()[0] if said else repr(error)
        raise Unavailable(f"the object store does not answer for {path}: {first}") from error


def _keep(folder: Path, path: str) -> None:
    """See that a new file, and the folders that lead to it, are on the disk itself."""
    here = folder / path
    while True:
        descriptor = os.open(here, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        if here == folder:
            return
        here = here.parent
