"""Connections to an engine that are dead without a word, while new ones are answered: firewalls forget."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.lab.images import BUSYBOX, ensure_busybox
from tests.lab.platform import ENGINE, Platform, wait_until
from tests.lab.proxy import ReplyProxy
from tests.lab.servers import Servers
from worker.supervisor.log_writer import UNREAD


@pytest.fixture
def proxy(tmp_path: Path) -> Iterator[ReplyProxy]:
    started = ReplyProxy(Path(urlsplit(ENGINE).path), at=tmp_path / "e.sock")
    yield started
    started.close()


@pytest.fixture
def through(proxy: ReplyProxy, servers: Servers, tmp_path: Path) -> Iterator[Callable[..., Platform]]:
    """A platform whose engine is behind the proxy, which is armed already."""
    ensure_busybox()
    platforms: list[Platform] = []

    def start(**settings: Any) -> Platform:
        endpoint = f"unix://{tmp_path / 'e.sock'}"
        platforms.append(
            Platform(servers, tmp_path, endpoints=[endpoint], sockets=[ENGINE], listing_seconds=1, **settings)
        )
        return platforms[-1]

    yield start
    proxy.withhold_after([])
    for platform in platforms:
        platform.stop()


@pytest.mark.parametrize("code", [0, 3])
def test_rank_whose_stream_and_events_are_dead_ends_by_the_listing(
    proxy: ReplyProxy, through: Callable[..., Platform], code: int
) -> None:
    proxy.withhold_after([b"/events?"])
    client = through().client
    assert proxy.withheld.wait(30), "the events are dead"
    proxy.withheld.clear()
    proxy.withhold_after([b"follow=1"])
    job = client.shell(f"echo first; sleep 4; echo last; exit {code}", image=BUSYBOX)["id"]
    done = client.wait_end(job, 60)
    assert proxy.withheld.is_set(), "its stream was dead"
    assert done["state"] == ("FAILED" if code else "COMPLETED"), done["status"]
    assert client.lines(job) == ["first", "last"]


def test_rank_whose_output_the_engine_never_gives_ends_and_says_so(
    proxy: ReplyProxy, through: Callable[..., Platform]
) -> None:
    proxy.withhold_after([b"/logs?"])
    client = through(engine_timeout_seconds=2, output_patience_seconds=1).client
    job = client.shell("echo first; exit 3", image=BUSYBOX)["id"]
    done = client.wait_end(job, 60)
    assert done["state"] == "FAILED" and "exit" in done["status"]
    assert "did not say whether it printed more than the first 0 bytes" in done["status"]
    assert client.lines(job) == [UNREAD.format(0).strip()]


def test_rank_whose_output_the_engine_gives_late_has_all_of_it(
    proxy: ReplyProxy, through: Callable[..., Platform]
) -> None:
    platform = through(engine_timeout_seconds=2, output_patience_seconds=30)
    proxy.withhold_after([b"/logs?"])
    job = platform.client.shell("echo first", image=BUSYBOX)["id"]
    assert proxy.withheld.wait(30)
    wait_until(lambda: "output_put_off" in platform.log("supervisor"), 30, "it was asked for in vain")
    proxy.withhold_after([])
    assert platform.client.wait_end(job, 60)["state"] == "COMPLETED"
    assert platform.client.lines(job) == ["first"]
