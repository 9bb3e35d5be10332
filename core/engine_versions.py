"""Which engines nothing is placed on for what they are: those too old, and those that lie. Pure."""

from __future__ import annotations

import re

#: API 1.41, the oldest that we speak: shims and cgroups as 20.10 has them.
_OLDEST = (20, 10)
#: After a hard reboot these may say of a container which that killed that it exited 0, which is success to us.
#: Source: moby#45788 reports it of 24.0; moby#45800 mended it, and its backport to 24.0, moby#45801, is in the
#: release notes of the engine under 24.0.3. Of 23.0 there is neither a report nor a release known to have the fix:
#: those up to 23.0.6, which all came before it, are kept out to be on the safe side.
_LIARS = (((23, 0, 0), (23, 0, 6)), ((24, 0, 0), (24, 0, 2)))
_MENDED = "24.0.3"
#: What comes after the numbers is the packager's: `20.10.24+dfsg1`, `24.0.7-0ubuntu4`, `23.0.0-rc.1`.
_VERSION = re.compile(r"v?(\d{1,4})\.(\d{1,4})(?:\.(\d{1,4}))?(?!\d)", re.ASCII)


def why_unfit(version: str) -> str:
    """Why nothing new is to be placed on an engine of this version; empty where nothing is known against it.

    A version that cannot be read, as of an engine that somebody built from source, is taken for a good one.
    """
    numbers = _numbers(version)
    if numbers is None:
        return ""
    if numbers[:2] < _OLDEST:
        return f"its engine is {version}, and at least {_OLDEST[0]}.{_OLDEST[1]} (API 1.41) is needed"
    if any(first <= numbers <= last for first, last in _LIARS):
        return (
            f"its engine is {version}, which may record exit code 0 for what a hard reboot killed (moby#45788):"
            f" {_MENDED} or later is needed"
        )
    return ""


def _numbers(version: str) -> tuple[int, int, int] | None:
    found = _VERSION.match(version)
    # 0.0.0 with a date is what builds from a branch call themselves.
    if found is None or not int(found[1]):
        return None
    return int(found[1]), int(found[2]), int(found[3] or 0)
