"""Sealing, opening and rotating; and the rows by which an image is proved to be a credential's."""

from __future__ import annotations

import base64
import itertools
import stat
from pathlib import Path

import pytest

from core.database import Database
from core.errors import FailedPrecondition, NotFound
from core.images import (
    PullFailure,
    WantedImage,
    WantedPull,
    is_private,
    jobs_waiting_for,
    lacks_proof,
    record_private,
    record_pull,
    request_pull,
    wanted_images,
)
from core.jobs import launching, starting
from core.jobs.quotas import Limits
from core.jobs.submitting import Submission
from core.jobs.submitting import submit as submit_job
from core.sealing import KeysUnusable, NotOpened, Sealed, SealingKeys, new_key_line, sealed_length
from core.secret_use import (
    SecretGone,
    SecretUnfit,
    SecretUnreadable,
    open_pull_secret,
    open_variables,
    reseal_some,
)
from core.secrets import create_secret, delete_secret, edit_secret, get_secret
from core.spec import JobSpec, ShellExecutor
from deploy.processes import SetupError
from deploy.secret_keys import add_key, ensure_keys, rotate
from tests.core.test_jobs import Pool

VALUE = "canary ☃ 'x'"
_numbers = itertools.count()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "secret-keys"
    assert ensure_keys(path)
    return path


@pytest.fixture
def keys(file: Path) -> SealingKeys:
    return SealingKeys(file)


@pytest.fixture
def pool(database: Database) -> Pool:
    return Pool(database)


def keep(pool: Pool, keys: SealingKeys, value: str = VALUE) -> tuple[str, int]:
    """A new secret of the pool's account: its id and its row."""
    secret_id = f"s{next(_numbers)}"
    made = create_secret(
        pool.database, keys, pool.account, secret_id, key_name="K", value=value, created_by="a@b.c"
    )
    return secret_id, made.row


def test_sealed_value_opens_only_as_what_it_was_sealed_as(keys: SealingKeys) -> None:
    sealed = keys.seal(b"value", "secret", "acme", 1)
    assert keys.open(sealed, "secret", "acme", 1) == b"value"
    assert len(sealed.data) == sealed_length(5)
    assert keys.seal(b"value", "secret", "acme", 1).data != sealed.data
    for other in (("secret", "acme", 2), ("secret", "acm", "e1"), ("acme", 1), ()):
        with pytest.raises(NotOpened):
            keys.open(sealed, *other)


@pytest.mark.parametrize("place", [0, 12, -1])
def test_sealed_value_that_was_changed_does_not_open(keys: SealingKeys, place: int) -> None:
    sealed = keys.seal(b"value", 1)
    changed = bytearray(sealed.data)
    changed[place] ^= 1
    for data in (bytes(changed), sealed.data[:5], b""):
        with pytest.raises(NotOpened):
            keys.open(Sealed(sealed.key_id, data), 1)


def test_first_key_seals_and_all_open_without_a_restart(file: Path, keys: SealingKeys) -> None:
    old = keys.seal(b"old", 1)
    standby = add_key(file, last=True)
    assert keys.seal(b"x", 1).key_id == old.key_id
    first = add_key(file)
    new = keys.seal(b"new", 1)
    assert new.key_id == first not in (old.key_id, standby)
    assert (keys.open(old, 1), keys.open(new, 1)) == (b"old", b"new")
    file.write_text(file.read_text().splitlines(keepends=True)[0])
    with pytest.raises(NotOpened, match=old.key_id):
        keys.open(old, 1)
    assert keys.open(new, 1) == b"new"


def test_key_files_are_made_once_for_their_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "new" / "secret-keys"
    assert ensure_keys(path)
    before = path.read_text()
    assert not ensure_keys(path)
    assert path.read_text() == before
    add_key(path)
    assert path.read_text().endswith(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(path.parent.iterdir()) == [path]
    path.write_text("nonsense")
    with pytest.raises(SetupError):
        ensure_keys(path)


def test_keys_are_shown_by_nothing(file: Path, keys: SealingKeys) -> None:
    key = file.read_text().strip().partition(":")[2]
    sealed = keys.seal(VALUE.encode(), 1)
    assert key not in repr(keys) + repr(vars(keys))
    assert "data" not in repr(sealed)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "# only words\n",
        "k1",
        "k1:",
        "k1:AAAA",
        f"k 1:{'A' * 43}=",
        "k1:" + "A" * 43 + "=\nk1:" + "B" * 43 + "=",
    ],
)
def test_file_that_is_no_file_of_keys_is_refused_without_quoting_it(tmp_path: Path, text: str) -> None:
    path = tmp_path / "keys"
    path.write_text(text)
    with pytest.raises(KeysUnusable) as refused:
        SealingKeys(path).seal(b"x")
    assert "AAAA" not in str(refused.value)
    assert "BBBB" not in str(refused.value)


@pytest.mark.parametrize("name", [None, "none", "."])
def test_file_that_cannot_be_read_is_refused(tmp_path: Path, name: str | None) -> None:
    with pytest.raises(KeysUnusable):
        SealingKeys(None if name is None else tmp_path / name).first_id()


def test_new_key_line_of_a_bad_id_is_refused() -> None:
    line = new_key_line("a.b-c_1")
    assert len(base64.b64decode(line.partition(":")[2])) == 32
    for bad in ("", "a:b", "a b", "x" * 65):
        with pytest.raises(ValueError, match="id"):
            new_key_line(bad)


def test_variables_are_opened_by_name_and_not_shown(pool: Pool, keys: SealingKeys) -> None:
    secret_id, _ = keep(pool, keys)
    opened = open_variables(pool.database, keys, pool.account, {"A": secret_id, "B": secret_id})
    assert {name: value.get_secret_value() for name, value in opened.items()} == {"A": VALUE, "B": VALUE}
    assert "canary" not in repr(opened)
    assert open_variables(pool.database, SealingKeys(None), pool.account, {}) == {}


def test_variables_that_cannot_be_had_say_why_and_no_value(pool: Pool, keys: SealingKeys, file: Path) -> None:
    secret_id, row = keep(pool, keys)
    for account, names in ((pool.account, {"A": "nosuch"}), ("elsewhere", {"A": secret_id})):
        with pytest.raises(SecretGone, match="secretEnvVars"):
            open_variables(pool.database, keys, account, names)
    large, _ = keep(pool, keys, "x" * 65_536)
    with pytest.raises(SecretUnfit):
        open_variables(pool.database, keys, pool.account, {f"A{i}": large for i in range(8)})
    file.write_text(new_key_line("another"))
    for unreadable in (keys, SealingKeys(None)):
        with pytest.raises(SecretUnreadable) as refused:
            open_pull_secret(pool.database, unreadable, row)
        assert "canary" not in str(refused.value)
    with pytest.raises(SecretGone):
        open_pull_secret(pool.database, keys, -1)


def test_pull_secret_is_opened_with_the_name_to_speak_of_it(pool: Pool, keys: SealingKeys) -> None:
    secret_id, row = keep(pool, keys)
    opened = open_pull_secret(pool.database, keys, row)
    assert opened.name == f"accounts/{pool.account}/secrets/{secret_id}"
    assert opened.value.get_secret_value() == VALUE
    assert "canary" not in repr(opened)


def test_secret_without_keys_cannot_be_made_or_changed(pool: Pool, keys: SealingKeys) -> None:
    secret_id, _ = keep(pool, keys)
    none = SealingKeys(None)
    with pytest.raises(FailedPrecondition):
        keep(pool, none)
    with pytest.raises(FailedPrecondition):
        edit_secret(pool.database, none, pool.account, secret_id, value="x")
    edit_secret(pool.database, none, pool.account, secret_id, key_name="N")
    assert get_secret(pool.database, pool.account, secret_id).key_name == "N"
    delete_secret(pool.database, pool.account, secret_id)
    with pytest.raises(NotFound):
        delete_secret(pool.database, pool.account, secret_id)


def test_rotation_that_is_broken_off_goes_on_where_it_was(pool: Pool, keys: SealingKeys, file: Path) -> None:
    rotate(pool.database, keys)
    made = [keep(pool, keys, f"value {i}") for i in range(5)]
    stray = SealingKeys(file.with_name("stray"))
    ensure_keys(file.with_name("stray"))
    lost = keep(pool, stray)
    before = get_secret(pool.database, pool.account, made[0][0])
    key_id = add_key(file)
    step = reseal_some(pool.database, keys, made[0][1] - 1, limit=2)
    assert (step.count, step.last_row) == (2, made[1][1])
    done = rotate(pool.database, keys)
    assert done.count == 3
    assert [name for name in done.unreadable if lost[0] in name]
    file.write_text(file.read_text().splitlines(keepends=True)[0])
    for index, (secret_id, _) in enumerate(made):
        opened = open_variables(pool.database, keys, pool.account, {"A": secret_id})
        assert opened["A"].get_secret_value() == f"value {index}"
    assert keys.first_id() == key_id
    assert get_secret(pool.database, pool.account, made[0][0]) == before


def proved(pool: Pool, image: WantedImage, within: float = 60) -> bool:
    return not lacks_proof(pool.database, pool.node.id, image, "r.example/app", within)


def test_image_of_a_private_repository_needs_fresh_proof_of_its_own_credential(pool: Pool) -> None:
    mine, other, nobodys = (WantedImage("r.example/app:1", row) for row in (41, 42, 0))
    digest = WantedImage("r.example/app@sha256:1", 41)
    assert all(proved(pool, each) for each in (mine, other, nobodys))
    assert not is_private(pool.database, "r.example/app")
    record_private(pool.database, "r.example/app")
    record_private(pool.database, "r.example/app")
    assert is_private(pool.database, "r.example/app")
    assert not any(proved(pool, each) for each in (mine, other, nobodys))
    for image in (mine, nobodys):
        request_pull(pool.database, pool.node.id, image, "none", 1)
    assert not proved(pool, mine)
    record_pull(pool.database, pool.node.id, mine, None)
    record_pull(pool.database, pool.node.id, nobodys, None, granted=False)
    assert [proved(pool, each) for each in (mine, other, nobodys, digest)] == [True, False, False, False]
    assert not proved(pool, mine, within=0)


def test_pull_that_was_granted_before_is_known_as_such_until_it_is_refused(pool: Pool) -> None:
    image = WantedImage("r.example/known:1", 7)

    def ask() -> bool:
        request_pull(pool.database, pool.node.id, image, "none", 1)
        found = [pull for pull in wanted_images(pool.database, pool.node.id) if pull.image == image]
        assert found in ([WantedPull(image, True)], [WantedPull(image, False)])
        return found[0].granted_before

    def end(failure: PullFailure | None = None, *, granted: bool = True) -> None:
        record_pull(pool.database, pool.node.id, image, failure, granted=granted)

    assert not ask()
    end(granted=False)
    assert not ask()
    end()
    assert ask()
    assert ask()
    end(PullFailure("REGISTRY_DENIED", "no"))
    assert not ask()


def submit(pool: Pool, *, pull_secret: str = "", variables: dict[str, str] | None = None) -> str:
    spec = JobSpec(
        "r.example/wait:1",
        executor=ShellExecutor("true"),
        image_pull_secret=pull_secret,
        secret_env_vars=variables or {},
    )
    submission = Submission(pool="default", display_name="", shared=False, spec=spec)
    job_id = submit_job(pool.database, pool.caller, submission, Limits(1000, 10_000)).job.id
    assert pool.place(job_id, 1)
    return job_id


def test_jobs_that_wait_for_a_pull_are_those_with_its_credential(pool: Pool, keys: SealingKeys) -> None:
    (first, first_row), (second, second_row) = keep(pool, keys), keep(pool, keys)
    jobs = {
        0: submit(pool),
        first_row: submit(pool, pull_secret=first),
        second_row: submit(pool, pull_secret=second),
    }
    for row, job_id in jobs.items():
        image = WantedImage("r.example/wait:1", row)
        assert jobs_waiting_for(pool.database, pool.node.id, image) == [job_id]
        orders = record_pull(pool.database, pool.node.id, image, None)
        assert [order.job_id for order in orders] == [job_id]


def test_launch_knows_the_row_of_its_pull_secret_and_that_it_is_gone(pool: Pool, keys: SealingKeys) -> None:
    secret_id, row = keep(pool, keys)
    rows = []
    for gone in (False, True):
        job_id = submit(pool, pull_secret=secret_id)
        if gone:
            delete_secret(pool.database, pool.account, secret_id)
        work = launching.claim_launch(pool.database, job_id, 1, pool.node.id, 60)
        assert work is not None
        rows.append(work.pull_secret)
    assert rows == [row, None]


def test_start_by_another_step_knows_the_names_of_secret_variables(pool: Pool, keys: SealingKeys) -> None:
    secret_id, _ = keep(pool, keys)
    job_id = submit(pool, variables={"TOKEN": secret_id})
    launching.claim_launch(pool.database, job_id, 1, pool.node.id, 60)
    launching.record_created(pool.database, job_id, 1, pool.node.id, {0: "c0"}, "sha256:1", 0)
    start = starting.claim_start(pool.database, job_id, 1, pool.node.id, 60)
    assert (start.containers, start.account) == ({0: "c0"}, pool.account)
    assert start.secret_env_vars == {"TOKEN": secret_id}


def test_delete_of_a_secret_forgets_what_it_was_granted(pool: Pool, keys: SealingKeys) -> None:
    secret_id, row = keep(pool, keys)
    image = WantedImage("r.example/app:1", row)
    record_private(pool.database, "r.example/app")
    request_pull(pool.database, pool.node.id, image, "none", 1)
    record_pull(pool.database, pool.node.id, image, None)
    assert proved(pool, image)
    edit_secret(pool.database, keys, pool.account, secret_id, key_name="N")
    assert proved(pool, image)
    edit_secret(pool.database, keys, pool.account, secret_id, value="new")
    assert not proved(pool, image)
    request_pull(pool.database, pool.node.id, image, "none", 1)
    delete_secret(pool.database, pool.account, secret_id)
    assert image not in [pull.image for pull in wanted_images(pool.database, pool.node.id)]
