"""Full resource names in bodies: `accounts/<account>/<collection>/<id>`. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from api.wire.proto_json import STRING, Faults, Kind, message, repeated
from core.errors import FieldViolation, InvalidArgument

#: The most resources that one call removes.
MAX_NAMES = 1000

#: The body of every `:batchDelete`.
NAMES: Kind = message({"names": repeated(STRING)})


def read_names(body: object, account: str, collection: str) -> list[str]:
    """The ids that a `:batchDelete` names, without repeats, in order.

    Raises InvalidArgument for what is not a name in this account's collection: the path says the account.
    """
    faults: Faults = []
    given = NAMES.read(body, "", faults)
    names: Sequence[str] = given.get("names", ()) if isinstance(given, dict) else ()
    prefix = f"accounts/{account}/{collection}/"
    if not faults and not 1 <= len(names) <= MAX_NAMES:
        faults.append(FieldViolation("names", f"must be 1 to {MAX_NAMES} names"))
    for index, name in enumerate(names):
        if not name.startswith(prefix) or not name[len(prefix) :] or "/" in name[len(prefix) :]:
            faults.append(FieldViolation(f"names[{index}]", f"must be {prefix} and an id"))
    if faults:
        raise InvalidArgument(faults)
    return list(dict.fromkeys(name[len(prefix) :] for name in names))
