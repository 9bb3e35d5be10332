"""What jobs get of secrets: whether those they name are there, their values at launch, and values sealed anew.

Every fault in here is a reason on a rank or on a pull, with a sentence that names the secret and never a value.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from pydantic import SecretStr
from sqlalchemy import Connection, bindparam, func, select, update

from core.database import Database
from core.errors import EngineError, FieldViolation
from core.models import Secret
from core.sealing import KeysUnusable, NotOpened, Sealed, SealingKeys, sealed_length
from core.secrets import bound_to, secret_name

#: All of a job's secret variables together, name, = and NUL counted. With the mebibyte that its other variables
#: and arguments may have, this stays below the 2 MiB that Linux takes for a new program (a quarter of the stack
#: limit, execve(2)).
MAX_VARIABLES_BYTES = 512 << 10


class SecretUnreadable(EngineError):
    """A stored value cannot be opened: no keys, the wrong keys, or a row that was tampered with."""

    reason = "SECRET_UNREADABLE"


class SecretGone(EngineError):
    """A secret that a job names was removed after the job was made."""

    reason = "SECRET_NOT_FOUND"


class SecretUnfit(EngineError):
    """A value is not what the job uses it for: too large for its environment, or no registry's credentials."""

    reason = "SECRET_UNFIT"


@dataclass(frozen=True)
class OpenedSecret:
    """A value that is about to be used, and the name by which messages may speak of it."""

    name: str
    value: SecretStr = field(repr=False)


def named_secrets_violations(
    connection: Connection, account: str, variables: Mapping[str, str], pull_secret: str
) -> list[FieldViolation]:
    """What a new job names and the account does not have, by wire field; and variables that are too large.

    `variables` are names to ids of secrets, `pull_secret` an id or "".
    """
    if not variables and not pull_secret:
        return []
    lengths = _lengths(connection, account, {*variables.values(), pull_secret})
    faults = [
        FieldViolation(f'secretEnvVars["{name}"]', _absent(secret_id))
        for name, secret_id in variables.items()
        if secret_id not in lengths
    ]
    if pull_secret and pull_secret not in lengths:
        faults.append(FieldViolation("imagePullSecret", _absent(pull_secret)))
    if not faults:
        total = sum(_string_bytes(name, lengths[secret_id]) for name, secret_id in variables.items())
        if total > MAX_VARIABLES_BYTES:
            faults.append(FieldViolation("secretEnvVars", _too_large(total)))
    return faults


def open_variables(
    database: Database, keys: SealingKeys, account: str, variables: Mapping[str, str]
) -> Mapping[str, SecretStr]:
    """A job's secret variables with their values as they are now.

    Raises SecretGone, SecretUnreadable, SecretUnfit.
    """
    if not variables:
        return {}
    with database.transaction() as connection:
        rows = connection.execute(_SEALED, {"account": account, "ids": sorted(set(variables.values()))}).all()
    found = {row.secret_id: row for row in rows}
    opened: dict[str, SecretStr] = {}
    for name, secret_id in variables.items():
        if secret_id not in found:
            raise SecretGone(f"secretEnvVars: there is no secret {secret_name(account, secret_id)} any more")
        row = found[secret_id]
        opened[name] = _open(keys, account, row.id, secret_id, Sealed(row.sealing_key, row.sealed))
    total = sum(_string_bytes(name, len(value.get_secret_value().encode())) for name, value in opened.items())
    if total > MAX_VARIABLES_BYTES:
        raise SecretUnfit(f"secretEnvVars: {_too_large(total)}")
    return opened


def open_pull_secret(database: Database, keys: SealingKeys, row_id: int) -> OpenedSecret:
    """The secret of a pull by the id of its row. Raises SecretGone, SecretUnreadable."""
    with database.transaction() as connection:
        row = connection.execute(_BY_ROW, {"row": row_id}).first()
    if row is None:
        raise SecretGone("imagePullSecret: the secret was removed")
    value = _open(keys, row.account_id, row_id, row.secret_id, Sealed(row.sealing_key, row.sealed))
    return OpenedSecret(secret_name(row.account_id, row.secret_id), value)


@dataclass(frozen=True)
class Resealed:
    """One step of a rotation: rows sealed anew, names of those that stayed closed, and where the next begins."""

    count: int
    unreadable: tuple[str, ...]
    last_row: int | None


def reseal_some(database: Database, keys: SealingKeys, after_row: int, limit: int = 100) -> Resealed:
    """Seal with the first key what another has sealed, at most `limit` rows past `after_row`, in one transaction.

    A rotation that is broken off goes on where it was: what is done is not found again. Raises KeysUnusable.
    """
    first, count, unreadable, last = keys.first_id(), 0, list[str](), None
    with database.transaction() as connection:
        rows = connection.execute(
            select(Secret.id, Secret.account_id, Secret.secret_id, Secret.sealing_key, Secret.sealed)
            .where(Secret.id > after_row, Secret.sealing_key != first)
            .order_by(Secret.id)
            .limit(limit)
            .with_for_update()
        ).all()
        for row in rows:
            last, bound = row.id, bound_to(row.account_id, row.id)
            try:
                sealed = keys.seal(keys.open(Sealed(row.sealing_key, row.sealed), *bound), *bound)
            except NotOpened as error:
                unreadable.append(f"{secret_name(row.account_id, row.secret_id)}: {error}")
                continue
            # Not its update time: what the secret is has not changed.
            values = {"sealing_key": sealed.key_id, "sealed": sealed.data}
            connection.execute(update(Secret).where(Secret.id == row.id).values(**values))
            count += 1
    return Resealed(count, tuple(unreadable), last)


_SEALED = select(Secret.id, Secret.secret_id, Secret.sealing_key, Secret.sealed).where(
    Secret.account_id == bindparam("account"), Secret.secret_id.in_(bindparam("ids", expanding=True))
)
_BY_ROW = select(Secret.account_id, Secret.secret_id, Secret.sealing_key, Secret.sealed).where(
    Secret.id == bindparam("row")
)


def _lengths(connection: Connection, account: str, secret_ids: set[str]) -> Mapping[str, int]:
    """The bytes of each value that is there; a sealed value tells its length without being opened."""
    rows = connection.execute(
        select(Secret.secret_id, func.length(Secret.sealed)).where(
            Secret.account_id == account, Secret.secret_id.in_(sorted(secret_ids))
        )
    )
    return {secret_id: length - sealed_length(0) for secret_id, length in rows}


def _open(keys: SealingKeys, account: str, row_id: int, secret_id: str, sealed: Sealed) -> SecretStr:
    try:
        return SecretStr(keys.open(sealed, *bound_to(account, row_id)).decode())
    except (KeysUnusable, NotOpened) as error:
        raise SecretUnreadable(f"the secret {secret_name(account, secret_id)} cannot be read: {error}") from None


def _string_bytes(name: str, value_bytes: int) -> int:
    return len(name.encode()) + value_bytes + 2


def _absent(secret_id: str) -> str:
    return f"there is no secret {secret_id[:64]!r} in this account"


def _too_large(total: int) -> str:
    return f"the values must be of at most {MAX_VARIABLES_BYTES:,} bytes together, not {total:,}"
