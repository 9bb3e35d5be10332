"""The engines: whether each answers, is of a version that can be used, and can hold ranks to their limits."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from urllib.parse import urlsplit

from client.findings import Finding, fault, ok, unchecked, warning, worst
from core.diagnosis import NodeSigns
from core.engine_versions import why_unfit
from deploy.diagnosis.engine_answers import ANSWER_SECONDS, EngineAnswers, EngineSilent, Why
from deploy.diagnosis.site import Site
from worker.docker_engine.transport import EngineAccess

_START = "start it with `sudo systemctl start docker`, or run deploy/up as root, which installs and starts one"
_CURES = {
    Why.NO_SOCKET: _START,
    Why.NOBODY_LISTENS: _START,
    Why.NOT_PERMITTED: "run `sudo usermod -aG docker $USER` and log in again, or use root",
    Why.HANGS: "look at `journalctl -u docker` and restart it with `sudo systemctl restart docker`",
}
_REMOTE_CURE = "see that its host is up and its engine runs; docs/hosts.md has certificates and keys"


def engine(site: Site) -> Finding:
    """Whether the engine of this host answers."""
    where = f"Docker at {site.engine_endpoint}"
    try:
        version = site.engine.info.get("ServerVersion", "")
    except EngineSilent as error:
        if site.needs_no_engine:
            return unchecked("no engine is here, and none is needed: all nodes are served by workers elsewhere")
        verb = "may not be used" if error.why is Why.NOT_PERMITTED else "is down"
        return fault(f"{where} {verb}: {error}", _CURES.get(error.why, _REMOTE_CURE))
    return ok(f"{where} answers, version {version}")


def version(site: Site) -> Finding:
    """Whether ranks may be given to an engine of its version."""
    found = str(site.engine.info.get("ServerVersion", ""))
    unfit = why_unfit(found)
    if unfit:
        return fault(f"no rank is placed on the engine: {unfit}", "install a newer Docker and restart the engine")
    return ok(f"{found} can be used")


def cgroups(site: Site) -> Finding:
    """Whether the engine can bound memory and processes."""
    info = site.engine.info
    missing = [name for name, key in (("memory", "MemoryLimit"), ("pids", "PidsLimit")) if info.get(key) is False]
    if missing:
        return fault(
            f"the kernel gives the engine no cgroup controller for {' and '.join(missing)}",
            "put `cgroup_enable=memory swapaccount=1` on the kernel's command line (Raspberry Pi: it is off),"
            " or mount the controllers, and restart the host",
        )
    return ok(f"memory and processes of ranks can be bounded (cgroup {info.get('CgroupVersion', '1')})")


def other_engines(site: Site) -> Finding:
    """The engines of the other nodes that workers of this host reach."""
    return of_other_engines(site, lambda _, answers: ok(f"{answers.info.get('ServerVersion')}"), "answer")


def of_other_engines(
    site: Site, judge: Callable[[NodeSigns, EngineAnswers], Finding], verb: str, *, tell_silent: bool = True
) -> Finding:
    """What is to be said of each of them, all asked at once."""
    others = [node for node in site.group_nodes if node.endpoint != site.engine_endpoint]
    if not others:
        return ok("there are none of this worker group")
    access = EngineAccess.of(site.settings)

    def asked(node: NodeSigns) -> Finding:
        try:
            return judge(node, EngineAnswers(node.endpoint, access))
        except EngineSilent as error:
            if not tell_silent:
                return unchecked(f"{node.full_name} does not answer")
            return _silent(node, error)

    pool = ThreadPoolExecutor(min(len(others), 32), thread_name_prefix="engines")
    try:
        asking = {pool.submit(asked, node): node for node in others}
        wait(asking, ANSWER_SECONDS)
        late = [
            _silent(node, EngineSilent(Why.HANGS))
            for each, node in asking.items()
            if tell_silent and not each.done()
        ]
        bad = [*late, *(each.result() for each in asking if each.done() and each.result().cure)]
    finally:
        # One that hangs is left behind.
        pool.shutdown(wait=False, cancel_futures=True)
    return worst(bad) if bad else ok(f"all others {verb} ({len(others)})")


def _silent(node: NodeSigns, error: EngineSilent) -> Finding:
    if urlsplit(node.endpoint).scheme == "tcp" and "certificate" in str(error):
        return fault(f"node {node.full_name}: {error}", "make a new certificate: docs/hosts.md")
    # What one host does is no fault of the platform's: its jobs go elsewhere.
    cure = _CURES.get(error.why, _REMOTE_CURE) if node.endpoint.startswith("unix:") else _REMOTE_CURE
    return warning(f"node {node.full_name} at {node.endpoint}: {error}", cure)
