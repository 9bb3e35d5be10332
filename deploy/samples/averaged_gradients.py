"""Softmax regression on scikit-learn's digits, its gradients averaged over all ranks by plain sockets.

Each rank sees its own share of the data, so only the averaging makes the weights the same everywhere.
Nothing but numpy, scikit-learn and what a rank finds in its environment: RANK, WORLD_SIZE, MASTER_ADDR,
MASTER_PORT. Run as `python -m averaged_gradients [steps]`.
"""

# mypy: ignore-errors
# numpy and scikit-learn are in the image, not where this is checked.

from __future__ import annotations

import hashlib
import os
import socket
import sys
import time

import numpy as np
import numpy.typing as npt
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

Array = npt.NDArray[np.float64]
CONNECT_SECONDS = 60.0


class Group:
    """All ranks, joined in a star whose middle is rank 0."""

    def __init__(self, rank: int, size: int, master: tuple[str, int]) -> None:
        self.rank, self.size = rank, size
        self._peers: list[socket.socket] = []
        if rank == 0:
            with socket.create_server(("", master[1]), backlog=size) as server:
                server.settimeout(CONNECT_SECONDS)
                self._peers = [server.accept()[0] for _ in range(size - 1)]
        else:
            self._peers = [_connect(master)]
        for peer in self._peers:
            peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def average(self, mine: Array) -> Array:
        """The mean over all ranks of an array, the same bits on each."""
        if self.rank == 0:
            total = mine.copy()
            for peer in self._peers:
                total += _receive(peer, mine)
            total /= self.size
            for peer in self._peers:
                peer.sendall(total.tobytes())
            return total
        self._peers[0].sendall(mine.tobytes())
        return _receive(self._peers[0], mine)


def main() -> None:
    """Train, say how the loss falls, and show that every rank ends with the same weights."""
    rank, size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    steps = int(sys.argv[1]) if len(sys.argv) > 1 else 300
    group = Group(rank, size, (os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])))
    images, labels = load_digits(return_X_y=True)
    train_x, test_x, train_y, test_y = train_test_split(images / 16.0, labels, test_size=0.25, random_state=0)
    mine_x, mine_y = train_x[rank::size], train_y[rank::size]
    print(f"rank {rank} of {size}: {len(mine_x)} of {len(train_x)} images are mine", flush=True)

    weights = np.zeros((train_x.shape[1], 10))
    for number in range(steps + 1):
        loss, gradient = loss_and_gradient(weights, mine_x, mine_y)
        weights -= 0.5 * group.average(gradient)
        mean_loss = float(group.average(np.array([loss]))[0])
        if number % (steps // 5) == 0:
            print(f"rank {rank}: step {number:3d}  loss {mean_loss:.4f}", flush=True)

    accuracy = float(np.mean(np.argmax(test_x @ weights, axis=1) == test_y))
    checksum = hashlib.sha256(weights.tobytes()).hexdigest()[:16]
    print(f"rank {rank}: test accuracy {accuracy:.3f}, weights {checksum}")
    if accuracy < 0.9:
        raise SystemExit(f"rank {rank}: the model did not learn")


def loss_and_gradient(weights: Array, images: Array, labels: npt.NDArray[np.int64]) -> tuple[float, Array]:
    """Cross-entropy of softmax regression and its gradient."""
    scores = images @ weights
    scores -= scores.max(axis=1, keepdims=True)
    likelihood = np.exp(scores)
    likelihood /= likelihood.sum(axis=1, keepdims=True)
    rows = np.arange(len(labels))
    loss = float(-np.log(likelihood[rows, labels] + 1e-12).mean())
    likelihood[rows, labels] -= 1.0
    return loss, images.T @ likelihood / len(labels)


def _connect(master: tuple[str, int]) -> socket.socket:
    deadline = time.monotonic() + CONNECT_SECONDS
    while True:
        try:
            connection = socket.create_connection(master, timeout=CONNECT_SECONDS)
        except OSError:
            # Rank 0 listens when its libraries are loaded; nothing tells the others of it.
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)
        else:
            return connection


def _receive(peer: socket.socket, like: Array) -> Array:
    buffer = bytearray(like.nbytes)
    view = memoryview(buffer)
    while view:
        count = peer.recv_into(view)
        if count == 0:
            raise ConnectionError("a rank has gone")
        view = view[count:]
    return np.frombuffer(buffer, dtype=like.dtype).reshape(like.shape)


if __name__ == "__main__":
    main()
