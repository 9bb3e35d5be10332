"""Files that nothing goes without: keys that seal secrets, the key in the env file, certificates for engines."""

from __future__ import annotations

import stat
from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509

from client.findings import Finding, fault, ok, unchecked, warning, worst
from core.api_keys import authenticate
from core.errors import Unauthenticated
from core.sealing import KeysUnusable, parse_keys
from deploy.certificates import days_left
from deploy.diagnosis.site import Site
from deploy.home import read_env_file
from deploy.processes import SetupError

_OF_OTHERS = stat.S_IRWXG | stat.S_IRWXO
#: A certificate that ends sooner is to be made anew.
_SOON_DAYS = 30


def secret_keys(site: Site) -> Finding:
    """The keys that seal secrets."""
    path = site.settings.secret_keys_file
    if path is None:
        return warning(
            "no file of keys is named, so that there can be no secrets", "set LONGSHORE_SECRET_KEYS_FILE"
        )
    try:
        found = parse_keys(path.read_text("ascii"))
        mode = stat.S_IMODE(path.stat().st_mode)
    except FileNotFoundError:
        return fault(
            f"the file of keys {path} is missing, and without it no secret opens",
            "put it back from its backup; where there were no secrets, deploy/up makes a new one",
        )
    except PermissionError:
        return fault(f"the file of keys {path} may not be read", f"`chown` {path} to the user of our processes")
    except (OSError, ValueError, KeysUnusable) as error:
        return fault(f"the file of keys {path} is damaged: {error}", "put it back from its backup")
    if mode & _OF_OTHERS:
        return warning(f"the file of keys {path} has mode {mode:04o}, for others too", f"run `chmod 600 {path}`")
    return ok(f"{len(found)} in {path}")


def api_key(site: Site) -> Finding:
    """The key that `deploy/up` has left for its user."""
    path = site.home.env_file
    cure = f"put one into {path}: `python -m deploy.admin_key --account main --email admin@localhost` prints it"
    try:
        known = read_env_file(path)
    except PermissionError:
        return unchecked(f"{path} may not be read by this user")
    if not path.exists():
        return unchecked(f"there is no {path}; a client's own key is checked by `longshore doctor`")
    key = known.get("LONGSHORE_API_KEY")
    if not key:
        return fault(f"{path} has no LONGSHORE_API_KEY", cure)
    try:
        caller = authenticate(site.database, key)
    except Unauthenticated:
        return fault(f"the key in {path} is not valid any more", cure)
    if stat.S_IMODE(path.stat().st_mode) & _OF_OTHERS:
        return warning(f"others may read the key in {path}", f"run `chmod 600 {path}`")
    return ok(f"that of {path} opens account {caller.account}")


def certificates(site: Site) -> Finding:
    """Ours and the authority's, for engines at tcp://, and those that lie there for engines."""
    folder = site.settings.docker_certs
    if folder is None:
        return ok("there are none, which engines at tcp:// would need")
    files = sorted({*folder.glob("*.pem"), *folder.glob("*/*.pem"), *folder.glob("server/*/*.pem")})
    shown = [file for file in files if file.name in ("ca.pem", "cert.pem")]
    if not shown:
        return fault(
            f"{folder} has no certificate", f"make them with `python -m deploy.certificates {folder} client`"
        )
    return worst([_of_certificate(folder, file) for file in shown])


def _of_certificate(folder: Path, file: Path) -> Finding:
    cure = _renewal(folder, file)
    try:
        left = days_left(file)
        begins_at = x509.load_pem_x509_certificate(file.read_bytes()).not_valid_before_utc
    except SetupError as error:
        return fault(str(error), cure)
    if left <= 0:
        return fault(f"{file} has expired {_days(-left)} ago", cure)
    if begins_at > datetime.now(UTC):
        return fault(
            f"{file} is not valid before {begins_at:%Y-%m-%d %H:%M} UTC", "compare the clocks of the hosts"
        )
    if left < _SOON_DAYS:
        return warning(f"{file} expires in {_days(left)}", cure)
    return ok(f"those in {folder} are valid")


def _renewal(folder: Path, file: Path) -> str:
    if file.name == "ca.pem":
        return (
            f"move {folder} away and make authority and certificates anew with `python -m deploy.certificates`:"
            " docs/hosts.md"
        )
    made = f"run `python -m deploy.certificates {folder} "
    if file.parent == folder:
        return f"{made}client` and restart worker and supervisor"
    return f"{made}server {file.parent.name}`, carry it to that host and restart its engine"


def _days(count: float) -> str:
    whole = max(int(count), 0)
    return "1 day" if whole == 1 else f"{whole} days"
