"""What each route needs of its caller, as data: `@needs(Need.ADMIN)` under the route's own decorator.

`api.dependencies` enforces what can be told without the resource; the rest is the route's, by the words here.
A test reads the declarations from the route table and calls every route as everyone: a route that declares
nothing fails it. Nothing here knows a resource.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import Any, TypeVar

from core.accounts import Caller
from core.errors import PermissionDenied

Endpoint = TypeVar("Endpoint", bound=Callable[..., Any])


class Need(Enum):
    """Who may. Whoever may not, and is of the account, gets 403; of another account's path he gets 404."""

    #: every user of the account, and nothing is changed
    READ = "read"
    #: every user of the account
    USER = "user"
    #: the account's admins
    ADMIN = "admin"
    #: the account's admins, if the account may own nodes: naming an engine is root-like power over a host
    NODE_OWNER = "node owner"
    #: the creator and the account's admins, and if the resource is shared every user. The route decides.
    CREATOR_OR_SHARED = "creator or shared"
    #: whose it is, and the account's admins. The route decides.
    OWNER_OR_ADMIN = "owner or admin"
    #: like OWNER_OR_ADMIN, and to other users it is as if it were not there. The route decides.
    OWNER_OR_ADMIN_HIDDEN = "owner or admin, hidden from others"
    #: every user of the account, and the operator's admins
    READ_OR_OPERATOR = "read or operator"
    #: the account's admins and the operator's, who may change different things. The route decides which.
    ADMIN_OR_OPERATOR = "admin or operator"
    #: the admins of the account that runs the platform
    OPERATOR = "operator"
    #: everyone with a valid key, in no account's path; what is answered depends on who asks
    ANYONE = "anyone"


_DECLARED: dict[Callable[..., Any], Need] = {}


def needs(need: Need) -> Callable[[Endpoint], Endpoint]:
    """Declare what a route's function needs. Goes below `@router.…`, so that it sees the function itself."""

    def declare(endpoint: Endpoint) -> Endpoint:
        _DECLARED[endpoint] = need
        return endpoint

    return declare


def need_of(endpoint: Callable[..., Any]) -> Need | None:
    """What was declared; None where nothing was."""
    return _DECLARED.get(endpoint)


def refuse_unless_met(need: Need, caller: Caller) -> None:
    """Raise PermissionDenied where the caller's own standing in his account already says no."""
    if need is Need.OPERATOR and not is_operators_admin(caller):
        raise PermissionDenied("only admins of the platform's operator may do this")
    if need in (Need.ADMIN, Need.NODE_OWNER, Need.ADMIN_OR_OPERATOR) and not caller.is_admin:
        raise PermissionDenied("only admins of the account may do this")
    if need is Need.NODE_OWNER and not caller.may_own_nodes:
        raise PermissionDenied("the account may not own nodes: the platform's operator can allow it")


def is_operators_admin(caller: Caller) -> bool:
    """Whether he manages the accounts of the platform."""
    return caller.is_operator and caller.is_admin
