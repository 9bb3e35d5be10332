"""Connections to an engine that are dead without a word, while new ones are answered: firewalls forget."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.lab.images import BUSYBOX, ensure_busybox
from tests.lab.platform import ENGINE, Platform
from tests.lab.proxy import ReplyProxy
from tests.lab.servers import Servers


@pytest.mark.parametrize("code", [0, 3])
def test_rank_whose_stream_and_events_are_dead_ends_by_the_listing(
    servers: Servers, tmp_path: Path, code: int
) -> None:
    ensure_busybox()
    proxy = ReplyProxy(Path(urlsplit(ENGINE).path), at=tmp_path / "e.sock")
    proxy.withhold_after([b"/events?"])
    platform = Platform(
        servers, tmp_path, endpoints=[f"unix://{tmp_path / 'e.sock'}"], sockets=[ENGINE], listing_seconds=1
    )
    try:
        assert proxy.withheld.wait(30), "the events are dead"
        proxy.withheld.clear()
        proxy.withhold_after([b"follow=1"])
        client = platform.client
        job = client.shell(f"echo first; sleep 4; echo last; exit {code}", image=BUSYBOX)["id"]
        done = client.wait_end(job, 60)
        assert proxy.withheld.is_set(), "its stream was dead"
        assert done["state"] == ("FAILED" if code else "COMPLETED"), done["status"]
        assert client.lines(job) == ["first", "last"]
    finally:
        proxy.withhold_after([])
        platform.stop()
        proxy.close()
