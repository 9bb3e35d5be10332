"""Limits in rate and in streams: who is refused, when he may ask again, and that guessing keys is slow."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import httpx
import pytest

from api.authentication import _source
from api.rate_limit import MAX_BUCKETS, RateLimiter, whole_seconds
from api.stream_limits import Streams
from core.database import Database
from core.enrolment import ensure_first_account
from core.errors import ResourceExhausted
from core.settings import Settings
from tests.api.conftest import ACCOUNT, client_of, serving
from tests.lab.platform import wait_until


class Clock:
    """Seconds that pass when they are told to."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_bucket_gives_its_burst_and_then_what_flows_in() -> None:
    clock = Clock()
    limiter = RateLimiter(2, 3, clock)
    assert [limiter.take("k") for _ in range(4)] == [0, 0, 0, 0.5]
    clock.now = 0.25
    assert limiter.take("k") == 0.25
    clock.now = 0.5
    assert limiter.take("k") == 0 and limiter.take("k") == 0.5
    clock.now = 1000
    assert [limiter.take("k") for _ in range(4)] == [0, 0, 0, 0.5]


def test_buckets_of_two_keys_are_two() -> None:
    limiter = RateLimiter(1, 1, Clock())
    assert limiter.take("a") == 0 and limiter.take("b") == 0
    assert limiter.take("a") == 1 and limiter.take("b") == 1


def test_wait_says_what_take_would_and_takes_nothing() -> None:
    limiter = RateLimiter(1, 1, Clock())
    assert limiter.wait("a") == 0 and limiter.wait("a") == 0
    assert limiter.take("a") == 0
    assert limiter.wait("a") == limiter.wait("a") == limiter.take("a") == 1


def test_rate_of_zero_is_no_limit() -> None:
    limiter = RateLimiter(0, 1, Clock())
    assert not any(limiter.take("a") for _ in range(100)) and limiter.wait("a") == 0


def test_buckets_are_bounded_and_those_in_use_are_kept() -> None:
    limiter = RateLimiter(1, 1, Clock())
    limiter.take("busy")
    for number in range(MAX_BUCKETS - 1):
        limiter.take(number)
    assert limiter.take("busy") > 0
    limiter.take("one more")
    assert limiter.take("busy") > 0 and limiter.take(0) == 0
    assert len(limiter._buckets) == MAX_BUCKETS


def test_bucket_that_many_threads_take_from_gives_no_more_than_it_has() -> None:
    limiter = RateLimiter(0.001, 500, Clock())
    got: list[float] = []

    def take() -> None:
        got.extend(limiter.take("k") for _ in range(200))

    threads = [threading.Thread(target=take) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert got.count(0.0) == 500 and len(got) == 1600


@pytest.mark.parametrize(("wait", "seconds"), [(0.001, 1), (1.0, 1), (1.01, 2), (59.2, 60)])
def test_retry_after_is_whole_and_never_too_early(wait: float, seconds: int) -> None:
    assert whole_seconds(wait) == seconds


@pytest.fixture(scope="module")
def keys(database: Database) -> tuple[str, str]:
    made = [
        ensure_first_account(database, account=ACCOUNT, user_email="a@acme.example", key_file_has_key=False)
        for _ in range(2)
    ]
    assert made[0] and made[1]
    return made[0], made[1]


@pytest.fixture
def serve(settings: Settings) -> Iterator[Callable[..., str]]:
    """Serves with other limits than the tests' own; the URL of the account."""
    with ExitStack() as stack:

        def start(**limits: float) -> str:
            return f"{stack.enter_context(serving(settings.model_copy(update=limits)))}/v1/accounts/{ACCOUNT}"

        yield start


def test_key_past_its_burst_is_refused_with_a_true_retry_after(
    serve: Callable[..., str], keys: tuple[str, str]
) -> None:
    url = serve(rate_limit_per_second=0.5, rate_limit_burst=5)
    with client_of(url, keys[0]) as client, client_of(url, keys[1]) as other:
        answers = [client.get("/batchJobs") for _ in range(7)]
        assert [answer.status_code for answer in answers] == [200] * 5 + [429] * 2
        refused = answers[-1]
        assert refused.json()["code"] == 8 and refused.headers["Retry-After"] in ("1", "2")
        assert other.get("/batchJobs").status_code == 200
        wait_until(lambda: client.get("/batchJobs").status_code == 200, 2.5, "a token is there")


def test_key_past_its_burst_is_refused_without_the_database(
    serve: Callable[..., str], keys: tuple[str, str], database: Database
) -> None:
    url = serve(rate_limit_per_second=0.01, rate_limit_burst=2)
    with client_of(url, keys[0]) as client:
        assert [client.get("/batchJobs").status_code for _ in range(3)] == [200, 200, 429]
        with database.transaction() as connection:
            # Whoever asks the database for a key now waits until this ends.
            connection.exec_driver_sql("LOCK TABLE api_keys, users IN ACCESS EXCLUSIVE MODE")
            assert client.get("/batchJobs", timeout=3).status_code == 429


def test_rate_limit_of_zero_limits_nobody(serve: Callable[..., str], keys: tuple[str, str]) -> None:
    url = serve(rate_limit_per_second=0, rate_limit_burst=1)
    with client_of(url, keys[0]) as client:
        assert {client.get("/users").status_code for _ in range(50)} == {200}


@pytest.mark.parametrize("authorization", ["", "Bearer lsk_0123456789abcdef_guess", "Bearer nonsense"])
def test_requests_without_a_valid_key_are_slowed_down(serve: Callable[..., str], authorization: str) -> None:
    url = serve(failed_key_limit_per_second=0.5, failed_key_limit_burst=3)
    headers = {"Authorization": authorization} if authorization else {}
    answers = [httpx.get(f"{url}/batchJobs", headers=headers) for _ in range(5)]
    assert [answer.status_code for answer in answers] == [401] * 3 + [429] * 2
    assert answers[-1].headers["Retry-After"] in ("1", "2")


def test_guesses_from_an_address_do_not_lock_out_a_key_that_is_known(
    serve: Callable[..., str], keys: tuple[str, str]
) -> None:
    url = serve(failed_key_limit_per_second=0.01, failed_key_limit_burst=3)
    with client_of(url, keys[0]) as client, client_of(url, keys[1]) as late, httpx.Client() as guesser:
        assert client.get("/batchJobs").status_code == 200
        statuses = [guesser.get(f"{url}/batchJobs").status_code for _ in range(4)]
        assert statuses == [401, 401, 401, 429]
        # Longer than an answer is kept: the key is asked for in the database again.
        assert {client.get("/batchJobs").status_code for _ in range(3)} == {200}
        assert late.get("/batchJobs").status_code == 429


@pytest.mark.parametrize(
    ("address", "source"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::1", "2001:db8:1:2::/64"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("fe80::1%eth0", "fe80::/64"),
        ("", ""),
        ("testclient", "testclient"),
    ],
)
def test_failures_are_counted_by_address_and_by_network_of_ipv6(address: str, source: str) -> None:
    assert _source(address) == source


def test_valid_keys_are_not_counted_as_failures(serve: Callable[..., str], keys: tuple[str, str]) -> None:
    url = serve(failed_key_limit_per_second=0.01, failed_key_limit_burst=2)
    with client_of(url, keys[0]) as client:
        assert {client.get("/users").status_code for _ in range(20)} == {200}


def test_streams_of_an_account_are_bounded_and_given_back() -> None:
    streams = Streams(2)
    with streams.open("acme"), streams.open("acme"):
        assert streams.count("acme") == 2
        with pytest.raises(ResourceExhausted), streams.open("acme"):
            pytest.fail("a third stream was opened")
        with streams.open("globex"):
            assert streams.count("globex") == 1
    assert streams.count("acme") == streams.count("globex") == 0
    with pytest.raises(ZeroDivisionError), streams.open("acme"):
        raise ZeroDivisionError
    assert streams.count("acme") == 0
