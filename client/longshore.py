"""The two clients. All that they can do is described in `calls`; here is only how each is made and ended."""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

from client.calls.job_verbs import AsyncJob, Job
from client.calls.jobs import JobCalls
from client.calls.people import PeopleCalls
from client.calls.pools import PoolCalls
from client.exchange.connection import Connection, trusted_by
from client.exchange.drivers import OnLoop, Threaded
from client.exchange.verbs import Blocking, Looped
from client.profiles import Profile, settings_of


class _Account:
    """What both are made of."""

    def __init__(
        self,
        url: str = "",
        api_key: str = "",
        account: str = "",
        *,
        profile: str = "",
        ca_file: str = "",
        timeout_seconds: float = 30,
        retry_seconds: float = 60,
        on_retry: Callable[[str], None] | None = None,
    ) -> None:
        self.settings = settings_of(Profile(url, account, api_key, "", ca_file), profile)
        self.account = self.settings.account
        self.retry_seconds = retry_seconds
        headers = {"Authorization": f"Bearer {self.settings.api_key}", "User-Agent": "longshore"}
        self._connect(
            Connection(
                self.settings.url,
                self.account,
                headers,
                timeout_seconds,
                trusted_by(self.settings.ca_file),
                on_retry,
            )
        )

    def _connect(self, connection: Connection) -> None:
        raise NotImplementedError


class Longshore(_Account, JobCalls[Job], PoolCalls, PeopleCalls, Blocking):
    """A platform as one user of one account. Settings that are not given are the environment's (`LONGSHORE_URL`,
    `LONGSHORE_API_KEY`, `LONGSHORE_ACCOUNT`), else a profile's. Raises SettingsMissing.

    A call that meets a bad connection, a 429 or a 503 is tried again for `retry_seconds`; of each time `on_retry`
    is told in a sentence. May be used from several threads; close it, or use it in a `with`.
    """

    _job_class = Job

    def _connect(self, connection: Connection) -> None:
        self._driver = Threaded(connection)

    def close(self) -> None:
        """End its connections."""
        self._driver.http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class AsyncLongshore(_Account, JobCalls[AsyncJob], PoolCalls, PeopleCalls, Looped):
    """The same for asyncio: calls are awaited, lists and streams are iterated by `async for`."""

    _job_class = AsyncJob

    def _connect(self, connection: Connection) -> None:
        self._driver = OnLoop(connection)

    async def close(self) -> None:
        """End its connections."""
        await self._driver.http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *ended: Any) -> None:
        await self.close()
