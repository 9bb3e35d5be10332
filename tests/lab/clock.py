"""A wall clock that is wrong, for the processes that are started with it (libfaketime)."""

from __future__ import annotations

import sysconfig
from collections.abc import Mapping
from pathlib import Path

LIBRARY = Path("/usr/lib") / (sysconfig.get_config_var("MULTIARCH") or "") / "faketime/libfaketimeMT.so.1"


class Clock:
    """The wall clock of the processes that have `variables`: off by so many seconds, from the next call on."""

    def __init__(self, file: Path, seconds: int) -> None:
        assert LIBRARY.exists(), "libfaketime is not installed: tests/run installs it"
        self._file = file
        self.set(seconds)

    def set(self, seconds: int) -> None:
        new = self._file.with_suffix(".new")
        new.write_text(f"{seconds:+d}\n")
        new.replace(self._file)

    @property
    def variables(self) -> Mapping[str, str]:
        return {
            "LD_PRELOAD": str(LIBRARY),
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        }
