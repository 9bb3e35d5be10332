"""A launch's work → the containers and the network it needs. Pure."""

from __future__ import annotations

from ipaddress import IPv4Network

from core.errors import CommandNotStarted
from core.jobs.gang_networks import HOST, OVERLAY
from core.jobs.launching import LaunchWork
from core.settings import Settings
from core.subnets import rank_address
from worker.engine import (
    LABEL_ATTEMPT,
    LABEL_EXECUTOR,
    LABEL_INSTALLATION,
    LABEL_JOB,
    LABEL_LOG_FILE,
    LABEL_NETWORK,
    LABEL_RANK,
    LABEL_RANKS,
    ContainerSpec,
    NetworkSpec,
    RankKey,
    gang_network_name,
)
from worker.executors import invocation_of
from worker.rank_environment import rank_environment, rank_name
from worker.secret_variables import with_secret_variables

_LEAST_LOG_FILE_BYTES = 16 << 20


def network_of(work: LaunchWork, settings: Settings) -> NetworkSpec:
    """A gang's own network, or the bridge that all one-rank jobs share, where containers cannot see each other."""
    labels = {LABEL_INSTALLATION: settings.installation}
    if work.subnet is None and work.driver != HOST:
        name = f"{settings.installation}-solo"
        return NetworkSpec(name, settings.solo_network, True, {**labels, LABEL_NETWORK: "solo"})
    labels |= {LABEL_NETWORK: "gang", LABEL_JOB: work.job_id, LABEL_ATTEMPT: str(work.attempt)}
    name = HOST if work.driver == HOST else gang_network_name(work.job_id, work.attempt)
    return NetworkSpec(name, work.subnet, False, labels, work.driver)


def overlay_of(job_id: str, attempt: int, subnet: IPv4Network, settings: Settings) -> NetworkSpec:
    """The network of a gang that is on several hosts of a swarm."""
    labels = {
        LABEL_INSTALLATION: settings.installation,
        LABEL_NETWORK: "gang",
        LABEL_JOB: job_id,
        LABEL_ATTEMPT: str(attempt),
    }
    return NetworkSpec(gang_network_name(job_id, attempt), subnet, False, labels, OVERLAY)


def container_of(
    work: LaunchWork,
    rank: int,
    image: str,
    network: NetworkSpec,
    settings: Settings,
    *,
    own_command: tuple[str, ...] = (),
) -> ContainerSpec:
    """One rank's container. Peers' names are in its hosts file, so they resolve before anything runs.

    `own_command` is what the image runs by itself. Raises CommandNotStarted where that is needed and empty.
    """
    invocation = invocation_of(work.spec)
    entrypoint, command = invocation.entrypoint, invocation.command
    if work.spec.secret_env_vars:
        whole = own_command if entrypoint is None else (*entrypoint, *command)
        if not whole:
            raise CommandNotStarted("No command specified: the image has neither an entrypoint nor a command")
        entrypoint, command = with_secret_variables(whole)
    gpu = work.gpu_of_rank.get(rank)
    log_file_bytes = _log_file_bytes(work, settings)
    address = None if work.subnet is None else rank_address(work.subnet, rank)
    return ContainerSpec(
        key=RankKey(work.job_id, work.attempt, rank),
        image=image,
        entrypoint=entrypoint,
        command=command,
        environment={
            **invocation.environment,
            **work.spec.env_vars,
            **rank_environment(
                job=f"accounts/{work.account}/batchJobs/{work.batch_job_id}",
                attempt=work.attempt,
                rank=rank,
                node_of_rank=work.node_of_rank,
                has_gpu=gpu is not None,
            ),
        },
        labels={
            LABEL_INSTALLATION: settings.installation,
            LABEL_JOB: work.job_id,
            LABEL_ATTEMPT: str(work.attempt),
            LABEL_RANK: str(rank),
            LABEL_RANKS: str(work.spec.num_ranks),
            LABEL_LOG_FILE: str(log_file_bytes),
            LABEL_EXECUTOR: invocation.kind,
            LABEL_NETWORK: network.labels[LABEL_NETWORK],
        },
        limits=work.limits,
        working_directory=work.spec.working_directory,
        network=network.name,
        hostname=rank_name(rank),
        address=address,
        hosts=_peers(work, rank),
        gpu=gpu,
        log_file_bytes=log_file_bytes,
    )


def _log_file_bytes(work: LaunchWork, settings: Settings) -> int:
    """So much that all that is kept of the rank's output is in the first file, unless its lines are short.

    Engines before 23 lose output, or give it twice, to whoever follows it from one file into the next.
    """
    return max(2 * settings.log_max_bytes // work.spec.num_ranks, _LEAST_LOG_FILE_BYTES)


def _peers(work: LaunchWork, rank: int) -> dict[str, str]:
    """The addresses of a rank's peers by name. With host networking its own name is a peer's address as well."""
    if work.driver == HOST:
        return {rank_name(peer): address for peer, address in enumerate(work.address_of_rank)}
    if work.subnet is None:
        return {}
    size = work.spec.num_ranks
    return {rank_name(peer): str(rank_address(work.subnet, peer)) for peer in range(size) if peer != rank}
