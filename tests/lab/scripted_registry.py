"""A registry that answers as it is told before it answers as it should: an HTTP proxy in front of a real one."""

from __future__ import annotations

import contextlib
import re
import threading
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx

from tests.lab.registry import Registry

#: What a registry's answers need of the headers that come through.
_KEPT = ("Content-Type", "Docker-Content-Digest", "Docker-Distribution-Api-Version", "Etag")


@dataclass
class Answer:
    """Given to the next `times` requests whose path matches, instead of what the registry would say.

    `stalls_at` (0 to 1) is not an answer of its own: the real one, which stops for good after so much of its body.
    """

    path: str
    status: int = 0
    times: int = 1 << 30
    headers: Mapping[str, str] = field(default_factory=dict)
    body: str = ""
    stalls_at: float | None = None


class ScriptedRegistry:
    """Passes everything on to `registry`, with its credentials: whoever asks here needs none.

    `manifests` and `blobs` count the requests for one that were passed on, by path.
    """

    def __init__(self, registry: Registry) -> None:
        self._auth = (registry.user, registry.password)
        self._upstream = httpx.Client(base_url=f"http://{registry.host}", timeout=60)
        self._script: list[Answer] = []
        self._lock = threading.Lock()
        self._over = threading.Event()
        self.answered: list[int] = []
        self.passed: Counter[str] = Counter()
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                with contextlib.suppress(OSError):
                    proxy._answer(self)

            do_HEAD = do_GET  # noqa: N815

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.host = f"127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def by_way_of(self, reference: str) -> str:
        """The reference of an image in the registry, to be pulled from here."""
        return f"{self.host}/{reference.partition('/')[2]}"

    def script(self, *answers: Answer) -> None:
        """What is answered from now on; the first that matches."""
        with self._lock:
            self._script = list(answers)
            self.answered.clear()
            self.passed.clear()

    def blobs(self) -> int:
        """The most often that one blob was asked for and passed on."""
        return max((count for path, count in self.passed.items() if "/blobs/" in path), default=0)

    def close(self) -> None:
        """Cut everything."""
        self._over.set()
        self._server.shutdown()
        self._server.server_close()
        self._upstream.close()

    def _next(self, path: str) -> Answer | None:
        with self._lock:
            for answer in self._script:
                if answer.times > 0 and re.search(answer.path, path):
                    answer.times -= 1
                    if answer.status:
                        self.answered.append(answer.status)
                    return answer
        return None

    def _answer(self, request: BaseHTTPRequestHandler) -> None:
        answer = self._next(request.path)
        if answer is not None and answer.status:
            body = answer.body.encode()
            request.send_response(answer.status)
            for name, value in answer.headers.items():
                request.send_header(name, value)
            request.send_header("Content-Length", str(len(body)))
            request.end_headers()
            if request.command != "HEAD":
                request.wfile.write(body)
            return
        with self._lock:
            self.passed[f"{request.command} {request.path}"] += 1
        self._pass_on(request, answer.stalls_at if answer is not None else None)

    def _pass_on(self, request: BaseHTTPRequestHandler, stalls_at: float | None) -> None:
        headers = {
            name: ", ".join(request.headers.get_all(name, ()))
            for name in ("Accept", "Range")
            if name in request.headers
        }
        with self._upstream.stream(request.command, request.path, headers=headers, auth=self._auth) as real:
            request.send_response(real.status_code)
            for name in _KEPT:
                if name in real.headers:
                    request.send_header(name, real.headers[name])
            length = int(real.headers.get("Content-Length", "0"))
            request.send_header("Content-Length", str(length))
            request.end_headers()
            left = length if stalls_at is None else int(length * stalls_at)
            if request.command == "HEAD":
                return
            for piece in real.iter_raw():
                request.wfile.write(piece[:left])
                left -= len(piece[:left])
                if left <= 0 and stalls_at is not None:
                    self._over.wait()
