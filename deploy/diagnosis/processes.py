"""Our own processes: those that `deploy/up` started, and what rows and broker say of any others."""

from __future__ import annotations

from client.findings import Finding, fault, ok, unchecked, warning, worst
from core.diagnosis import longest_unseen_seconds
from core.nodes import DOWN
from core.queue import CONTROL_QUEUE, make_celery, rings_waiting
from deploy.diagnosis.site import Site
from deploy.processes import wait_until
from deploy.services import BESIDE, COMMANDS

#: A pass takes a second; beat rings every three.
_UNSEEN_SECONDS, _RINGS = 60.0, 40
_TAKEN_SECONDS = 2.5
_START = "run deploy/up, which starts what is missing (docker-compose up -d where the stack is compose's)"


def ours(site: Site) -> Finding:
    """The processes that were started here."""
    if site.roster is None:
        return unchecked("deploy/up has started none here, or this user may not see which; rows tell of others")
    # A host beside the platform, which `deploy/node` set up, has two of them alone, and no accounts.
    wanted = tuple(COMMANDS) if site.home.operator_env_file.exists() or site.roster.mark("api") else BESIDE
    gone = [name for name in wanted if site.roster.running(name) is None]
    if gone:
        logs = ", ".join(str(site.home.path / "log" / f"{name}.log") for name in gone)
        return fault(f"{', '.join(gone)} {'does' if len(gone) == 1 else 'do'} not run; see {logs}", _START)
    return ok(f"{', '.join(wanted)} run")


def supervisors(site: Site) -> Finding:
    """Whether each node is watched."""
    if not site.nodes:
        return fault("there is no node, so that no job will ever run", "run deploy/up, or deploy/node on a host")
    alone = sorted({node.worker_group for node in site.nodes if not node.is_held})
    if not alone:
        return ok(f"every node is watched ({len(site.nodes)})")
    count = sum(not node.is_held for node in site.nodes)
    return fault(
        f"no supervisor watches {count} of {len(site.nodes)} nodes, of worker group {', '.join(alone)}",
        f"start one with LONGSHORE_WORKER_GROUP={alone[0]}: deploy/up here, deploy/node on a host of its own",
    )


def workers(site: Site) -> Finding:
    """Whether somebody takes the rings and looks at the queue."""
    app = make_celery(site.settings.broker_url)
    last = waiting = rings_waiting(app, [CONTROL_QUEUE])[CONTROL_QUEUE]

    def is_taken_from() -> bool:
        nonlocal last
        before, last = last, rings_waiting(app, [CONTROL_QUEUE])[CONTROL_QUEUE]
        return last < before

    # Many may wait of a moment in which many came: then they become fewer.
    if waiting > _RINGS and not wait_until(is_taken_from, _TAKEN_SECONDS, every=0.1):
        return fault(f"no worker is at work: {last} rings wait, and nobody takes one", f"start one; {_START}")
    unseen = longest_unseen_seconds(site.database)
    if unseen > _UNSEEN_SECONDS:
        return fault(f"no worker has looked at a job that waits since {unseen:.0f} s", f"start one; {_START}")
    return ok(f"{waiting} rings wait, and every job has been looked at")


def nodes(site: Site) -> Finding:
    """Whether ranks can be placed anywhere."""
    down = [node for node in site.nodes if node.state == DOWN]
    withheld = [node for node in site.nodes if node.state != DOWN and node.withheld]
    ready = [node for node in site.nodes if node not in down and node not in withheld and node.state == "READY"]
    told = [warning(f"node {each.full_name} is down: {each.state_detail}", _BACK) for each in down]
    told += [warning(f"node {each.full_name} takes no ranks: {each.withheld}", _WITHHELD) for each in withheld]
    if site.nodes and not ready:
        first = told[0] if told else warning("every node is drained", "let one take ranks: longshore undrain NODE")
        return fault(f"no node takes ranks: {first.says}", first.cure)
    return worst(told) if told else ok(f"{len(ready)} of {len(site.nodes)} take ranks")


_BACK = "bring its engine back: LongshoreNodeDown in docs/operations.md"
_WITHHELD = "mend what it says: LongshoreNodeWithheld in docs/operations.md"
