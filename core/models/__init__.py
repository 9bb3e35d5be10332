"""The rows. Their shape only: what moves them is in the file named after the noun (`core.jobs`, ...).

Portable to Postgres 15 and later, with no contrib extension, no ICU collation and no `uuidv7()`.
"""

from __future__ import annotations

from core.models.identity import Account, ApiKey, RoleBinding, Secret, User
from core.models.jobs import IdempotencyKey, Job, JobCount, JobFile
from core.models.nodes import ImagePull, Node, NodePool, NodePoolBinding, PrivateRepository
from core.models.outputs import OutputFile, RankOutputs
from core.models.packed import DoomedObjects, KeptBytes, LogObject, PackedAttempt
from core.models.ranks import GangNetwork, JobEvent, LogChunk, Notebook, Rank, RankUsage, UsagePart
from core.models.row import Row
from core.models.tallies import JobMark, JobTally

__all__ = [
    "Account",
    "ApiKey",
    "DoomedObjects",
    "GangNetwork",
    "IdempotencyKey",
    "ImagePull",
    "Job",
    "JobCount",
    "JobEvent",
    "JobFile",
    "JobMark",
    "JobTally",
    "KeptBytes",
    "LogChunk",
    "LogObject",
    "Node",
    "NodePool",
    "NodePoolBinding",
    "Notebook",
    "OutputFile",
    "PackedAttempt",
    "PrivateRepository",
    "Rank",
    "RankOutputs",
    "RankUsage",
    "RoleBinding",
    "Row",
    "Secret",
    "UsagePart",
    "User",
]
