"""What the platform answers, as frozen values: fields by their Python names, and whatever else came along."""

from client.reads.jobs import BatchJob, Event, JobChange, LogEntry, Rank, RankUsage, Upload
from client.reads.outputs import OutputFile, RankOutputs
from client.reads.people import ApiKey, Secret, User
from client.reads.pools import Node, NodePool, PoolStats

__all__ = [
    "ApiKey",
    "BatchJob",
    "Event",
    "JobChange",
    "LogEntry",
    "Node",
    "NodePool",
    "OutputFile",
    "PoolStats",
    "Rank",
    "RankOutputs",
    "RankUsage",
    "Secret",
    "Upload",
    "User",
]
