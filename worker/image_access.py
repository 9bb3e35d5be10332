"""Whether a job may have an image that is on its node already: asked of rows, remembered for a moment."""

from __future__ import annotations

import time

from core.database import Database
from core.images import OPERATORS_CREDENTIAL, WantedImage, lacks_proof
from worker.image_names import repository_of

_KNOWN_SECONDS = 2.0
_MOST_KNOWN = 1000


class ImageAccess:
    """What one worker process knows of it. Safe to share between threads."""

    def __init__(self, database: Database, within_seconds: float) -> None:
        self._database = database
        self._within_seconds = within_seconds
        self._allowed: dict[tuple[int, WantedImage, str], float] = {}

    def is_open(self, node_id: int, image: WantedImage, image_id: str) -> bool:
        """Whether the image that was found on the node may be run with this credential, now.

        Only a yes is remembered, for this very image and for jobs without a secret of their own: what they were
        let have a moment ago they had then, and what a private pull brings to the node later is another image.
        """
        key = (node_id, image, image_id)
        if time.monotonic() < self._allowed.get(key, 0.0):
            return True
        repository = repository_of(image.image_ref)
        if lacks_proof(self._database, node_id, image, repository, self._within_seconds):
            return False
        if image.pull_secret != OPERATORS_CREDENTIAL:
            return True
        if len(self._allowed) >= _MOST_KNOWN:
            self._allowed.clear()
        self._allowed[key] = time.monotonic() + min(_KNOWN_SECONDS, self._within_seconds / 2)
        return True
