"""Notebooks as files, made from the sources of their cells."""

from __future__ import annotations

import json
from typing import Any


def notebook(*sources: str, **metadata: Any) -> str:
    """A notebook of code cells, the first of which holds the parameters."""
    cells: list[dict[str, Any]] = [
        {
            "cell_type": "code",
            "id": f"c{number}",
            "execution_count": None,
            "metadata": {},
            "outputs": [],
            "source": source,
        }
        for number, source in enumerate(sources)
    ]
    cells[0]["metadata"] = {"tags": ["parameters"]}
    return json.dumps({"cells": cells, "metadata": metadata, "nbformat": 4, "nbformat_minor": 5})
