"""Private images: pulled with an account's secret, and refused to whoever the registry refuses, cached or not."""

from __future__ import annotations

import json
import secrets
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from deploy.secret_keys import ensure_keys
from tests.lab.api_client import ApiClient
from tests.lab.images import BUSYBOX, ensure_busybox
from tests.lab.platform import Platform, wait_until
from tests.lab.registry import Registry
from tests.lab.servers import Servers

ACCESS_SECONDS = 2


@pytest.fixture(scope="module")
def registry() -> Iterator[Registry]:
    """One of its own: its users come and go."""
    started = Registry()
    yield started
    started.stop()


@pytest.fixture(scope="module")
def platform(servers: Servers, registry: Registry, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    """The operator has credentials for the registry by its other name only."""
    ensure_busybox()
    folder = tmp_path_factory.mktemp("secrets-images")
    ensure_keys(folder / "secret-keys")
    config = folder / "registry.json"
    config.write_text(registry.config.read_text().replace("127.0.0.1", "localhost"))
    started = Platform(
        servers,
        folder,
        secret_keys_file=folder / "secret-keys",
        registry_config=config,
        image_access_seconds=ACCESS_SECONDS,
        listing_seconds=1,
    )
    with started.database.transaction() as connection:
        connection.exec_driver_sql("UPDATE node_pools SET offered_to_all = true")
    yield started
    started.stop()


@pytest.fixture(scope="module")
def owner(platform: Platform) -> ApiClient:
    return platform.client


@pytest.fixture(scope="module")
def other(platform: Platform) -> Iterator[ApiClient]:
    """Someone of another account, whose jobs run on the same node."""
    client = platform.new_account("globex", "bob@globex.test")
    yield client
    client.close()


@pytest.fixture
def private(registry: Registry) -> Iterator[str]:
    """An image in a repository that no test has used, on no node yet."""
    reference = registry.push(BUSYBOX, f"team/{secrets.token_hex(4)}:1")
    yield reference
    registry.forget(reference)


def keep(client: ApiClient, value: str) -> str:
    """A new secret; its id."""
    asked = {"keyName": "REGISTRY", "value": value}
    made = client.http.post("/secrets", params={"secretId": f"s-{secrets.token_hex(6)}"}, json=asked)
    assert made.status_code == 200, made.text
    name: str = made.json()["name"]
    return name.rpartition("/")[2]


def credentials(registry: Registry, password: str = "") -> str:
    return json.dumps({"username": registry.user, "password": password or registry.password})


def run(client: ApiClient, image: str, secret: str = "", **fields: Any) -> dict[str, Any]:
    """A job that has ended."""
    job = client.shell("true", image=image, imagePullSecret=secret, **fields)
    return client.wait_end(job["id"])


def outcome(job: dict[str, Any]) -> tuple[str, str]:
    return job["state"], job["reason"] if job["state"] == "FAILED" else ""


COMPLETED = ("COMPLETED", "")
DENIED = ("FAILED", "REGISTRY_DENIED")


def test_private_image_is_pulled_with_either_form_of_secret(
    owner: ApiClient, platform: Platform, registry: Registry, private: str
) -> None:
    for value in (credentials(registry), registry.config.read_text()):
        assert outcome(run(owner, private, keep(owner, value), ranks=2)) == COMPLETED
        registry.forget(private)
    repository = private.rpartition(":")[0]
    assert platform.query(f"SELECT 1 FROM private_repositories WHERE repository = '{repository}'") == [(1,)]


def test_private_image_on_the_node_is_refused_to_whoever_the_registry_refuses(
    owner: ApiClient, other: ApiClient, platform: Platform, registry: Registry, private: str
) -> None:
    granted = run(owner, private, keep(owner, credentials(registry)))
    assert outcome(granted) == COMPLETED
    second = f"{private[:-1]}second"
    platform.engine.images.get(private).tag(second)
    cached = platform.engine.images.get(private)
    wrong = keep(other, credentials(registry, "wrong"))
    by_digest = granted["imageDigest"]
    assert by_digest.partition("@")[0] == private.rpartition(":")[0]
    for image in (private, second, by_digest):
        assert outcome(run(other, image)) == DENIED
        assert outcome(run(other, image, wrong)) == DENIED
        assert outcome(run(owner, image)) == DENIED, "the owner names no secret either"
    assert platform.engine.images.get(private).id == cached.id, "it is on the node all the time"
    assert outcome(run(other, private, keep(other, credentials(registry)))) == COMPLETED
    assert outcome(run(other, private)) == DENIED, "what one secret was granted is no other's"
    registry.forget(second)


def test_job_cannot_name_an_image_by_the_beginning_of_its_id(
    owner: ApiClient, other: ApiClient, platform: Platform, registry: Registry, private: str
) -> None:
    assert outcome(run(owner, private, keep(owner, credentials(registry)))) == COMPLETED
    digits = platform.engine.images.get(private).id.partition(":")[2]
    for length in (12, 63):
        assert run(other, digits[:length])["state"] == "FAILED"


def test_jobs_of_several_secrets_for_one_image_at_a_time_get_each_its_own_answer(
    owner: ApiClient, other: ApiClient, registry: Registry, private: str
) -> None:
    right, wrong = credentials(registry), credentials(registry, "wrong")
    jobs = [
        (client, client.shell("true", image=private, imagePullSecret=keep(client, value)), expected)
        for client, value, expected in (
            (owner, right, COMPLETED),
            (other, wrong, DENIED),
            (other, right, COMPLETED),
            (owner, wrong, DENIED),
        )
    ]
    for client, job, expected in jobs:
        assert outcome(client.wait_end(job["id"])) == expected


def test_access_that_is_taken_back_is_noticed_and_given_back_too(
    owner: ApiClient, registry: Registry, private: str
) -> None:
    secret = keep(owner, credentials(registry))
    assert outcome(run(owner, private, secret)) == COMPLETED
    users = Path(registry.config).parent / "htpasswd"
    before = users.read_text()
    try:
        set_users(users, registry.user, "another")
        deadline = time.monotonic() + 30
        while outcome(run(owner, private, secret)) == COMPLETED:
            assert time.monotonic() < deadline, "a credential that the registry refuses still gets the image"
        assert outcome(run(owner, private, secret)) == DENIED
        assert owner.http.patch(f"/secrets/{secret}", json={"value": credentials(registry, "another")}).is_success
        assert outcome(run(owner, private, secret)) == COMPLETED
    finally:
        users.write_text(before)


def set_users(file: Path, user: str, password: str) -> None:
    made = subprocess.run(["htpasswd", "-nbB", user, password], check=True, capture_output=True, text=True)
    file.write_text(made.stdout)


def test_new_value_has_to_prove_itself_at_once(
    owner: ApiClient, platform: Platform, registry: Registry, private: str
) -> None:
    secret = keep(owner, credentials(registry))
    assert outcome(run(owner, private, secret)) == COMPLETED
    owner.http.patch(f"/secrets/{secret}", json={"value": credentials(registry, "wrong")})
    assert outcome(run(owner, private, secret)) == DENIED
    rows = f"SELECT count(*) FROM image_pulls WHERE image_ref = '{private}' AND pull_secret <> 0"
    assert platform.query(rows) == [(1,)]
    assert owner.http.delete(f"/secrets/{secret}").is_success
    assert platform.query(rows) == [(0,)]


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        ("no json", "is neither a docker config.json"),
        ("[]", "is neither a docker config.json"),
        ('{"auths": []}', "is neither a docker config.json"),
        ('{"auths": {"HOST": {"auth": "***"}}}', "is neither a docker config.json"),
        ('{"auths": {"HOST": {"auth": "/w=="}}}', "is neither a docker config.json"),
        ('{"username": "u", "password": 5}', "is neither a docker config.json"),
        ('{"auths": {"elsewhere.example": {"auth": "dTpw"}}}', "has no credentials for the registry HOST"),
        ('{"auths": {}}', "has no credentials for the registry HOST"),
    ],
)
def test_secret_that_is_no_credential_says_so(
    owner: ApiClient, registry: Registry, value: str, sentence: str
) -> None:
    secret = keep(owner, value.replace("HOST", registry.host))
    done = run(owner, f"{registry.host}/team/none:1", secret)
    assert outcome(done) == ("FAILED", "SECRET_UNFIT")
    assert f"accounts/acme/secrets/{secret} {sentence.replace('HOST', registry.host)}" in done["status"]


def test_repository_that_everyone_may_pull_stays_everyones(
    owner: ApiClient, other: ApiClient, platform: Platform, registry: Registry
) -> None:
    """By its other name the operator's credentials open the registry, so a secret makes nothing private."""
    pushed = registry.push(BUSYBOX, f"team/{secrets.token_hex(4)}:1")
    open_to_all = pushed.replace("127.0.0.1", "localhost")
    assert outcome(run(owner, open_to_all, keep(owner, credentials(registry)))) == COMPLETED
    repository = open_to_all.rpartition(":")[0]
    assert platform.query(f"SELECT 1 FROM private_repositories WHERE repository = '{repository}'") == []
    asked = platform.log("supervisor").count("event='image_pulled'")
    assert outcome(run(other, open_to_all)) == COMPLETED
    assert platform.log("supervisor").count("event='image_pulled'") == asked
    registry.forget(open_to_all)


def test_registry_that_is_gone_takes_back_no_proof_and_gives_none(
    owner: ApiClient, other: ApiClient, platform: Platform, registry: Registry, private: str
) -> None:
    """The last test of this registry."""
    secret, others = keep(owner, credentials(registry)), keep(other, credentials(registry))
    assert outcome(run(owner, private, secret)) == COMPLETED
    registry._process.terminate()
    registry._process.wait(10)
    fresh = f"SELECT 1 FROM image_pulls WHERE image_ref = '{private}'" + (
        f" AND ended_at > now() - interval '{ACCESS_SECONDS} s'"
    )
    wait_until(lambda: platform.query(fresh) == [], 10, "the proof is old")
    assert outcome(run(owner, private, secret)) == COMPLETED
    for unproved in (others, ""):
        done = run(other, private, unproved, timeouts={"pull": "3s"})
        assert outcome(done) == ("FAILED", "PULL_TIMEOUT") and "the registry does not answer" in done["status"]
    assert outcome(run(other, BUSYBOX)) == COMPLETED, "images that are nobody's secret need no registry"


@pytest.fixture(autouse=True)
def at_rest_after(platform: Platform) -> Iterator[None]:
    yield
    platform.wait_at_rest()
