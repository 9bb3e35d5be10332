"""Every setting, by URL and number, read from `LONGSHORE_*` variables. No defaults that start anything."""

from __future__ import annotations

from functools import lru_cache
from ipaddress import IPv4Network
from pathlib import Path
from typing import Self
from urllib.parse import quote, urlsplit, urlunsplit

from pydantic import Field, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

#: A hundred years: a time that a database can still take from now.
MAX_RETENTION_DAYS = 36_500


class Settings(BaseSettings):
    """What a process needs to know. The embedded start and the compose stack set the same names."""

    # What is wrong is named; what it was may hold a password.
    model_config = SettingsConfigDict(env_prefix="LONGSHORE_", extra="ignore", hide_input_in_errors=True)

    database_url: str = Field(description="postgresql://user:password@host:port/name")
    broker_url: str = Field(description="redis://host:port/0, or redis+socket:///path?virtual_host=0")
    database_password_file: Path | None = Field(
        default=None, description="the password that database_url leaves out: who may see variables sees no file"
    )
    broker_password_file: Path | None = Field(default=None, description="likewise, of broker_url")
    api_host: str = Field(default="127.0.0.1", description="the address that the API listens on")
    api_port: int = Field(default=8080, description="its port")
    api_processes: int = Field(
        default=1, ge=1, description="processes that share the port; limits of rate and of streams are each one's"
    )
    max_body_bytes: int = Field(default=1 << 20, description="the largest body of a request without files")
    max_upload_bytes: int = Field(
        default=5 << 20, description="all files that come with a job, its notebook among them"
    )
    max_ranks: int = Field(default=10_000, description="the most ranks one job may ask for")

    rate_limit_per_second: float = Field(
        default=500.0, ge=0, description="requests of one API key in each api process; 0 = no limit"
    )
    rate_limit_burst: int = Field(default=1000, ge=1, description="requests that a key may save up")
    failed_key_limit_per_second: float = Field(
        default=50.0, ge=0, description="requests without a valid key from one address, likewise; 0 = no limit"
    )
    failed_key_limit_burst: int = Field(default=100, ge=1, description="those that an address may save up")
    max_streams_per_account: int = Field(
        default=100, ge=0, description="event streams open at the same time in each api process"
    )

    max_live_jobs: int = Field(
        default=10_000, description="jobs of one account that have not ended, unless the account says otherwise"
    )
    max_live_ranks: int = Field(default=100_000, description="their ranks, likewise")
    idempotency_seconds: float = Field(
        default=86_400.0, description="an Idempotency-Key is remembered for so long"
    )

    heartbeat_file: Path | None = Field(
        default=None, description="of one worker, supervisor or beat, which says there that it does its work"
    )
    metrics_host: str = Field(
        default="127.0.0.1", description="where worker and supervisor answer Prometheus, to whoever reaches it"
    )
    worker_metrics_port: int = Field(default=0, ge=0, le=65535, description="of the worker; 0 = no listener")
    supervisor_metrics_port: int = Field(default=0, ge=0, le=65535, description="of the supervisor, likewise")

    installation: str = Field(
        default="longshore",
        pattern=r"^[a-z0-9][a-z0-9-]{0,30}$",
        description="marks our containers and networks, so that two installations may share an engine",
    )
    worker_group: str = Field(
        default="local", description="this worker and supervisor serve the nodes that name this group"
    )
    worker_threads: int = Field(default=8, description="steps of one worker process at the same time")
    starts_per_node: int = Field(
        default=4, description="creates and starts of one gang at the same time; engines get slower past it"
    )
    docker_certs: Path | None = Field(
        default=None,
        description="ca.pem, cert.pem, key.pem for engines at tcp://; those of one host in a folder of its name",
    )
    plain_engines: str = Field(
        default="", description="host:port, with commas, of engines that are spoken to without TLS: closed labs"
    )
    ssh_key_file: Path | None = Field(
        default=None, description="the private key for engines at ssh://; empty = as OpenSSH is configured"
    )
    ssh_known_hosts: Path | None = Field(
        default=None,
        description="the host keys of engines at ssh://, and no others; empty = as OpenSSH is configured",
    )
    facts_seconds: float = Field(
        default=30.0, ge=1, description="period of asking an engine for its disk, CPUs and swarm"
    )
    min_free_disk_bytes: int = Field(
        default=2 << 30, ge=0, description="no new rank on a node whose engine has less disk free; 0 = no limit"
    )
    min_free_inodes: int = Field(default=20_000, ge=0, description="likewise, inodes of that disk")
    disk_probe_image: str = Field(
        default="longshore/python:3",
        description="an image with `df`: nodes at tcp:// or ssh:// with it show their free disk; empty: none",
    )
    registry_config: Path | None = Field(
        default=None, description="a docker config.json with the credentials for private registries"
    )
    secret_keys_file: Path | None = Field(
        default=None, description="the keys that seal secrets, `<key id>:<base64 of 32 bytes>` a line; 0600"
    )
    image_access_seconds: float = Field(
        default=300.0,
        ge=1,
        description="a registry is asked again after so long whether a credential may have a private image",
    )
    network_range: IPv4Network = Field(
        default=IPv4Network("10.201.0.0/16"), description="gang networks are cut out of this range"
    )
    solo_network: IPv4Network = Field(
        default=IPv4Network("10.202.0.0/20"), description="the shared bridge of one-rank jobs"
    )

    lease_seconds: float = Field(default=10.0, description="a supervisor's hold on a node, renewed at a third")
    step_lease_seconds: float = Field(
        default=60.0, description="a launch or start step that has not reported for so long is taken over"
    )
    lost_after_seconds: float = Field(
        default=300.0, ge=0, description="a node's ranks are lost when it has not answered for so long"
    )
    sweep_seconds: float = Field(default=3.0, description="period of the search for what was not rung for")
    listing_seconds: float = Field(default=10.0, description="period of the listing of a node's containers")
    orphan_grace_seconds: float = Field(
        default=60.0, description="a labelled container that no row explains is removed after this"
    )
    engine_timeout_seconds: float = Field(default=60.0, description="one call of an engine, streams left out")
    pull_timeout_seconds: float = Field(default=1800.0, description="one image pull, from request to ready")
    pull_stall_seconds: float = Field(default=120.0, description="a pull without progress for so long fails")
    log_max_bytes: int = Field(
        default=1 << 30, ge=1 << 10, description="output kept of an attempt; each rank has an equal share"
    )
    log_flush_seconds: float = Field(default=0.25, description="captured output is stored at least so often")
    object_store_url: str = Field(
        default="",
        description="file:///folder, s3://bucket/prefix, gs:// or az://, where what ended jobs left is kept;"
        " empty = in the database, and by workers that do not reach the store",
    )
    usage_seconds: float = Field(
        default=5.0,
        ge=0,
        description="how often the CPU, memory, network and block I/O of each rank is sampled; 0 = never",
    )
    compact_after_seconds: float = Field(
        default=60.0,
        ge=0,
        description="what an attempt printed goes to the object store so long after its last container is gone",
    )
    retention_days: float = Field(
        default=0,
        ge=0,
        le=MAX_RETENTION_DAYS,
        description="what an attempt left is removed so long after its end, unless the account says otherwise;"
        " 0 or empty = never",
    )
    retention_bytes: int = Field(
        default=0,
        ge=0,
        lt=1 << 63,
        description="of what ended attempts left in the object store, an account keeps the newest, up to this;"
        " likewise",
    )
    notebook_max_bytes: int = Field(default=64 << 20, description="a larger executed notebook is not kept")
    output_max_bytes: int = Field(
        default=1 << 30, ge=0, description="files that are kept of what one rank leaves in $LONGSHORE_OUTPUT_DIR"
    )
    output_max_files: int = Field(default=10_000, ge=0, description="likewise, how many of them")
    output_patience_seconds: float = Field(
        default=60.0,
        ge=0,
        description="an ended rank holds its slot for so long while what it printed or left cannot be kept",
    )
    notebook_seconds: float = Field(
        default=5.0,
        gt=0,
        description="how often a running notebook is kept; papermill writes it as often",
    )

    @field_validator("retention_days", "retention_bytes", mode="before")
    @classmethod
    def _empty_is_zero(cls, value: object) -> object:
        return 0 if value == "" else value

    @model_validator(mode="after")
    def _take_passwords(self) -> Self:
        if self.database_password_file is not None:
            self.database_url = with_password(self.database_url, self.database_password_file)
        if self.broker_password_file is not None:
            self.broker_url = with_password(self.broker_url, self.broker_password_file)
        return self

    @property
    def plain_engine_set(self) -> frozenset[str]:
        """`plain_engines`, one by one."""
        return frozenset(name.strip() for name in self.plain_engines.split(",") if name.strip())


def with_password(url: str, file: Path) -> str:
    """The URL with the file's password, which may have any character but ends before a newline at its end.

    Raises ValueError, which names the file and never what is in it.
    """
    parts = urlsplit(url)
    user, _, host = parts.netloc.rpartition("@")
    if not parts.netloc or ":" in user:
        raise ValueError(f"a password comes from {file}, so the URL must name a host and have no password")
    try:
        password = file.read_text("utf-8").rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not a text"
        raise ValueError(f"the password in {file} cannot be read: {why}") from None
    if not password:
        raise ValueError(f"there is no password in {file}")
    return urlunsplit(parts._replace(netloc=f"{user}:{quote(password, safe='')}@{host}"))


@lru_cache(maxsize=1)
def load_settings() -> Settings:
    """The process's settings, read once.

    Raises pydantic's ValidationError, which names each missing or wrong variable.
    """
    return Settings()
