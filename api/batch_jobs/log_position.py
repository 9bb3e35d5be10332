"""A place in an attempt's output, on the wire: a place in every rank's, since none must be jumped over because
another was ahead."""

from __future__ import annotations

from collections.abc import Mapping

from api.wire.page_tokens import bad_page_token, make_page_token, read_page_token
from core.logs import Position

_MAX_INT32 = 2**31 - 1


def position_token(attempt: int, positions: Mapping[int, Position], bound_to: tuple[object, ...]) -> str:
    """The token of a place, for whoever asks the same (`bound_to`) again."""
    places = [[rank, *position] for rank, position in sorted(positions.items())]
    return make_page_token([attempt, places], *bound_to)


def read_position(token: str, bound_to: tuple[object, ...]) -> tuple[int, dict[int, Position]]:
    """Attempt, and place in each rank's output. Raises InvalidArgument where it is no token of ours for this."""
    match read_page_token(token, *bound_to):
        case [int(attempt), list(places)] if all(map(_is_place, places)) and 0 < attempt <= _MAX_INT32:
            return attempt, {rank: (seq, index) for rank, seq, index in places}
        case _:
            raise bad_page_token()


def _is_place(found: object) -> bool:
    if not isinstance(found, list) or len(found) != 3:
        return False
    return all(isinstance(number, int) and 0 <= number <= _MAX_INT32 for number in found)
