"""How a process looks for a broker that is away."""

from __future__ import annotations

from socket import socket

import pytest
from kombu.exceptions import OperationalError

from core.queue import make_celery


def test_broker_that_is_away_is_asked_again_every_second_and_for_ever() -> None:
    pauses: list[float] = []
    with socket() as unserved:
        unserved.bind(("127.0.0.1", 0))
        app = make_celery(f"redis://127.0.0.1:{unserved.getsockname()[1]}/0")
        with app.connection_for_read() as connection, pytest.raises(OperationalError):
            # As Celery's consumer asks it.
            connection.ensure_connection(lambda _, pause: pauses.append(pause), 3)
    assert pauses == [1.0] * 3
    assert app.conf.broker_connection_max_retries is None
