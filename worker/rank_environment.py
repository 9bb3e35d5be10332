"""What a rank finds: the environment that PyTorch, JAX and MPI programs expect (API.md). Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from worker.output_folder import OUTPUT_FOLDER
from worker.output_folder import VARIABLE as OUTPUT_VARIABLE

MASTER_PORT = 29500


def rank_name(rank: int) -> str:
    """The name by which the other ranks reach it."""
    return f"rank-{rank}"


def rank_environment(
    *, job: str, attempt: int, rank: int, node_of_rank: Sequence[int], has_gpu: bool = False
) -> Mapping[str, str]:
    """The variables of one rank, given the node of each rank; hosts count in the order they first occur.

    `has_gpu`: the rank sees one GPU, its own. Programs take LOCAL_RANK for the number of theirs, which is 0 then.
    """
    size = len(node_of_rank)
    hosts = list(dict.fromkeys(node_of_rank))
    here = node_of_rank[rank]
    local_rank = 0 if has_gpu else sum(1 for node in node_of_rank[:rank] if node == here)
    local_size = sum(1 for node in node_of_rank if node == here)
    host = hosts.index(here)
    names = [rank_name(peer) for peer in range(size)]
    # Each container is one host to torchrun: one process in each, whatever machine it is on.
    return {
        "RANK": str(rank),
        "WORLD_SIZE": str(size),
        "LOCAL_RANK": str(local_rank),
        "LOCAL_WORLD_SIZE": str(local_size),
        "GROUP_RANK": str(host),
        "NODE_RANK": str(host),
        "GROUP_WORLD_SIZE": str(len(hosts)),
        "MASTER_ADDR": names[0],
        "MASTER_PORT": str(MASTER_PORT),
        "JOB_COMPLETION_INDEX": str(rank),
        "PET_NNODES": str(size),
        "PET_NODE_RANK": str(rank),
        "PET_NPROC_PER_NODE": "1",
        "PET_MASTER_ADDR": names[0],
        "PET_MASTER_PORT": str(MASTER_PORT),
        "LONGSHORE_JOB": job,
        "LONGSHORE_ATTEMPT": str(attempt),
        OUTPUT_VARIABLE: OUTPUT_FOLDER,
        "LONGSHORE_RANKS": ",".join(names),
        "LONGSHORE_HOSTFILE": "\n".join(f"{name} slots=1" for name in names),
    }
