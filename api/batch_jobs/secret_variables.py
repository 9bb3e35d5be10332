"""Rules of a job's variables whose values are secrets. Pure; whether the secrets are there is `core`'s to say.

A shell in the container sets them (`worker.secret_variables`), so their names are held to what a shell takes.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping

from api.wire.proto_json import key_path
from core.errors import FieldViolation
from core.spec import RESERVED_ENV_NAMES, RESERVED_ENV_PREFIX

_FIELD = "secretEnvVars"
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,254}", re.ASCII)
#: What common shells (dash, busybox, bash, ksh) keep for themselves: some refuse to set it, some end at a value
#: that is not a number, and some give the program another value than the one that was set.
_OF_THE_SHELL = frozenset(
    {"_", "DIRSTACK", "EPOCHREALTIME", "EPOCHSECONDS", "EUID", "FUNCNAME", "GROUPS", "HISTCMD", "LINENO"}
    | {"OPTARG", "OPTIND", "PIPESTATUS", "PPID", "RANDOM", "SECONDS", "SHELLOPTS", "SHLVL", "SRANDOM", "UID"}
    | {"COMP_WORDBREAKS", "IFS", "OLDPWD", "PWD"}
)
_OF_BASH = "BASH"


def secret_variables_violations(
    variables: Mapping[str, str], env_vars: Collection[str]
) -> Iterator[FieldViolation]:
    """Every variable that cannot be set from a secret, or may not."""
    for name, secret_id in variables.items():
        fault = _name_fault(name, env_vars) or ("" if secret_id else "must be the id of a secret")
        if fault:
            yield FieldViolation(key_path(_FIELD, name), fault)


def _name_fault(name: str, env_vars: Collection[str]) -> str:
    if _NAME.fullmatch(name) is None:
        return "a variable's name must be of at most 255 of A-Z a-z 0-9 _, not beginning with a digit"
    if name in RESERVED_ENV_NAMES or name.startswith(RESERVED_ENV_PREFIX):
        return "is set by the platform for every rank and may not be given"
    if name in _OF_THE_SHELL or name.startswith(_OF_BASH):
        return "is a variable of the shell itself and cannot be given"
    if name in env_vars:
        return "is in envVars too; a variable has one value"
    return ""
