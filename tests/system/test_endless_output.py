"""B-11: a rank that prints as fast as it can, for ever: so much is kept, the log says so, nobody else suffers."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from core.log_records import PLATFORM
from tests.lab.api_client import ApiClient
from tests.lab.host_pool import ranks_of
from tests.lab.images import BUSYBOX, ensure_busybox
from tests.lab.platform import Platform
from tests.lab.servers import Servers
from tests.lab.stored_output import records

_KEPT = 3 << 20
_RANKS = 3
_LINE = b"as fast as it can\n"


@pytest.fixture(scope="module")
def platform(servers: Servers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    ensure_busybox()
    started = Platform(servers, tmp_path_factory.mktemp("endless"), log_max_bytes=_KEPT, listing_seconds=1)
    yield started
    started.stop()


@pytest.fixture(scope="module")
def client(platform: Platform) -> ApiClient:
    return platform.client


def cut_at(limit: int) -> bytes:
    return (_LINE * (limit // len(_LINE) + 1))[:limit]


def test_endless_output_is_kept_up_to_the_limit_and_the_log_says_so(client: ApiClient, platform: Platform) -> None:
    command = f"[ $RANK = 2 ] || exec yes '{_LINE.decode().strip()}'; echo short; sleep 600"
    job = client.shell(command, image=BUSYBOX, ranks=_RANKS, timeouts={"run": "8s"}, stopGracePeriod="1s")
    client.wait_for(job["id"], lambda seen: seen["state"] == "RUNNING")
    other = client.shell("echo beside it", image=BUSYBOX)
    assert client.wait_end(other["id"], 30)["state"] == "COMPLETED"
    assert client.lines(other["id"]) == ["beside it"]
    done = client.wait_end(job["id"], 60)
    assert (done["state"], done["reason"]) == ("FAILED", "RUN_TIMEOUT")
    share = _KEPT // _RANKS
    for rank in (0, 1):
        stored = list(records(platform.database_url, platform.object_store_url, job["id"], rank))
        assert b"".join(each.data for each in stored if each.stream != PLATFORM) == cut_at(share)
        said = [each.data.decode() for each in stored if each.stream == PLATFORM]
        assert said == [stored[-1].data.decode()]
        assert f"the first {share} bytes of this rank's output are kept" in said[0]
    assert [int(rank["logBytes"]) for rank in ranks_of(client, job["id"])] == [share, share, len("short\n")]
    assert said[0].strip() in client.lines(job["id"], rank=0)[-1]


def test_end_of_what_is_not_kept_is_still_known(client: ApiClient) -> None:
    command = f"yes '{_LINE.decode().strip()}' | head -c {_KEPT + 1000}; echo; echo the reason; exit 7"
    done = client.wait_end(client.shell(command, image=BUSYBOX)["id"], 60)
    assert done["state"] == "FAILED"
    assert done["status"].endswith("the reason")
    (rank,) = ranks_of(client, done["name"].rpartition("/")[2])
    assert rank["exitCode"] == 7
    assert rank["lastLines"][-1] == "the reason"


def test_signal_that_ends_a_rank_with_too_much_output_is_known(client: ApiClient) -> None:
    command = f"yes '{_LINE.decode().strip()}' | head -c {_KEPT + 1000}; kill -9 $$"
    done = client.wait_end(client.shell(command, image=BUSYBOX)["id"], 60)
    (rank,) = ranks_of(client, done["name"].rpartition("/")[2])
    assert (rank["exitCode"], rank["signal"]) == (137, 9)
