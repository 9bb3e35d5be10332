"""The table of checks, in the order in which they are made: what others stand on comes first."""

from __future__ import annotations

from client.findings import Check
from deploy.diagnosis import addresses, clocks, disks, engine, files, networks, processes, servers
from deploy.diagnosis.site import Site

_DATABASE_HANGS = "see that Postgres and the way to it are up; a firewall that drops what it gets looks the same"
_ENGINE_HANGS = "look at `journalctl -u docker` and restart it with `sudo systemctl restart docker`"
_DISK_HANGS = "see which mount hangs (`df` hangs there too) and bring its server back, or unmount it"

CHECKS: tuple[Check[Site], ...] = (
    Check("settings", servers.settings),
    Check("database", servers.database, ("settings",), _DATABASE_HANGS),
    Check("migrations", servers.migrations, ("database",), _DATABASE_HANGS),
    Check("broker", servers.broker, ("settings",), "see that the broker and the way to it are up, and restart it"),
    Check("engine", engine.engine, ("settings",), _ENGINE_HANGS),
    Check("version", engine.version, ("engine",), _ENGINE_HANGS),
    Check("cgroups", engine.cgroups, ("engine",), _ENGINE_HANGS),
    Check("other engines", engine.other_engines, ("migrations",), "see which host hangs: `longshore nodes`"),
    Check("clock", clocks.database_clock, ("database",), _DATABASE_HANGS),
    Check(
        "engine clocks", clocks.engine_clocks, ("migrations", "engine"), "see which host hangs: `longshore nodes`"
    ),
    Check("disk", disks.state_disk, ("settings",), _DISK_HANGS),
    Check(
        "object store", disks.object_store, ("settings",), "see that the store answers, and the way to it is open"
    ),
    Check("engine disk", disks.engine_disk, ("engine",), _DISK_HANGS),
    Check("node disks", disks.node_disks, ("migrations",), _DATABASE_HANGS),
    Check("port", addresses.port, ("settings",), "end the program on the API's port that does not answer"),
    Check("name", addresses.name, ("settings",), "see that the name servers in /etc/resolv.conf answer"),
    Check("certificates", files.certificates, ("settings",), _DISK_HANGS),
    Check("secret keys", files.secret_keys, ("settings",), _DISK_HANGS),
    Check("api key", files.api_key, ("migrations",), _DATABASE_HANGS),
    Check("networks", networks.networks_of_engine, ("engine",), _ENGINE_HANGS),
    Check("blocks", networks.blocks, ("migrations",), _DATABASE_HANGS),
    Check("processes", processes.ours, ("settings",), _DISK_HANGS),
    Check("supervisors", processes.supervisors, ("migrations",), _DATABASE_HANGS),
    Check("workers", processes.workers, ("migrations", "broker"), _DATABASE_HANGS),
    Check("nodes", processes.nodes, ("migrations",), _DATABASE_HANGS),
)
