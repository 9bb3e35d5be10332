"""The first accounts and lost keys, as they are made on the host: `deploy.bootstrap` and `deploy.admin_key`."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import pytest
from sqlalchemy import delete, select, update

from core.api_keys import authenticate
from core.database import Database
from core.enrolment import ensure_first_account
from core.errors import Unauthenticated
from core.models import Account, ApiKey, Node, NodePool, User
from core.nodes import ensure_pool
from core.settings import Settings, load_settings
from deploy import admin_key, bootstrap
from deploy.home import read_env_file
from tests.api.conftest import client_of, serving

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Done:
    """How a command ended and what it said."""

    code: int
    out: str
    err: str


Run = Callable[..., Done]


@pytest.fixture
def run(
    database: Database,
    database_url: str,
    broker_url: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Iterator[Run]:
    """Runs a command of `deploy` on this module's database, which is empty at first."""
    with database.transaction() as connection:
        for table in (Node, NodePool, User, Account):
            connection.execute(delete(table))
    for name in [name for name in os.environ if name.startswith("LONGSHORE_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("LONGSHORE_DATABASE_URL", database_url)
    monkeypatch.setenv("LONGSHORE_BROKER_URL", broker_url)
    load_settings.cache_clear()

    def start(command: ModuleType, *words: str) -> Done:
        monkeypatch.setattr(sys, "argv", [command.__name__, *words])
        capsys.readouterr()
        code, said = 0, ""
        try:
            code = command.main() or 0
        except SystemExit as ended:
            code, said = 1, str(ended)
        printed = capsys.readouterr()
        return Done(code, printed.out, printed.err + said)

    yield start
    load_settings.cache_clear()


def make_all(run: Run, folder: Path, *words: str) -> tuple[dict[str, str], dict[str, str]]:
    """The two files that bootstrap wrote."""
    done = run(bootstrap, "--env-file", str(folder / "env"), "--url", "http://here:1", *words)
    assert done.code == 0, done.err
    found = read_env_file(folder / "env"), read_env_file(folder / "operator.env")
    assert not any(file["LONGSHORE_API_KEY"] in done.out + done.err for file in found)
    return found


def test_commands_run_as_modules_and_say_what_they_are_for() -> None:
    for module in ("deploy.bootstrap", "deploy.admin_key"):
        command = [sys.executable, "-m", module, "--help"]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0 and "--account" in done.stdout and "key" in done.stdout


def test_bootstrap_makes_the_operator_and_the_first_account(run: Run, database: Database, tmp_path: Path) -> None:
    first, operator = make_all(run, tmp_path)
    assert (first["LONGSHORE_ACCOUNT"], operator["LONGSHORE_ACCOUNT"]) == ("main", "operator")
    assert first["LONGSHORE_URL"] == operator["LONGSHORE_URL"] == "http://here:1"
    for name in ("env", "operator.env"):
        assert stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o600
    of_main = authenticate(database, first["LONGSHORE_API_KEY"])
    of_operator = authenticate(database, operator["LONGSHORE_API_KEY"])
    assert (of_main.account, of_main.is_admin, of_main.is_operator, of_main.may_own_nodes) == (
        "main", True, False, True,
    )  # fmt: skip
    assert (of_operator.account, of_operator.is_admin, of_operator.is_operator, of_operator.may_own_nodes) == (
        "operator", True, True, False,
    )  # fmt: skip


def test_bootstrap_run_again_changes_nothing(run: Run, database: Database, tmp_path: Path) -> None:
    before = make_all(run, tmp_path)
    with database.transaction() as connection:
        connection.execute(update(Account).where(Account.id == "main").values(may_own_nodes=False))
    assert make_all(run, tmp_path) == before
    with database.transaction() as connection:
        assert len(connection.execute(select(ApiKey.id)).all()) == 2
        assert len(connection.execute(select(User.id)).all()) == 2
        kept = connection.execute(select(Account.may_own_nodes).where(Account.id == "main")).scalar_one()
    assert kept is False


def test_bootstrap_of_an_installation_without_an_operator_adds_him_and_keeps_the_key(
    run: Run, database: Database, tmp_path: Path
) -> None:
    key = ensure_first_account(database, account="main", user_email="me@here", key_file_has_key=False)
    ensure_pool(database, account="main")
    (tmp_path / "env").write_text(f"export LONGSHORE_ACCOUNT=main\nexport LONGSHORE_API_KEY={key}\n")
    first, operator = make_all(run, tmp_path, "--email", "me@here")
    assert first["LONGSHORE_API_KEY"] == key
    assert authenticate(database, operator["LONGSHORE_API_KEY"]).is_operator


def test_bootstrap_whose_file_is_lost_makes_another_key(run: Run, database: Database, tmp_path: Path) -> None:
    before, operator = make_all(run, tmp_path)
    (tmp_path / "env").unlink()
    after, same = make_all(run, tmp_path)
    assert same == operator and after["LONGSHORE_API_KEY"] != before["LONGSHORE_API_KEY"]
    assert authenticate(database, after["LONGSHORE_API_KEY"]).account == "main"


def test_bootstrap_refuses_to_run_jobs_in_the_operators_account(run: Run, tmp_path: Path) -> None:
    done = run(bootstrap, "--env-file", str(tmp_path / "env"), "--account", "operator")
    assert done.code != 0 and "operator" in done.err
    assert not list(tmp_path.iterdir())


def test_admin_key_makes_a_key_for_an_admin_who_lost_his(run: Run, database: Database, tmp_path: Path) -> None:
    make_all(run, tmp_path)
    done = run(admin_key, "--account", "main", "--email", "ADMIN@localhost")
    assert done.code == 0, done.err
    caller = authenticate(database, done.out.strip())
    assert (caller.account, caller.is_admin) == ("main", True)


@pytest.mark.parametrize(
    ("account", "email"),
    [("main", "nobody@localhost"), ("nowhere", "admin@localhost"), ("main", "plain@localhost")],
)
def test_admin_key_for_nobody_or_no_admin_is_refused(
    run: Run, database: Database, tmp_path: Path, account: str, email: str
) -> None:
    make_all(run, tmp_path)
    plain = ensure_first_account(database, account="main", user_email="plain@localhost", key_file_has_key=False)
    with database.transaction() as connection:
        connection.execute(update(User).where(User.email == "plain@localhost").values(role="user"))
    done = run(admin_key, "--account", account, "--email", email)
    assert done.code == 1 and done.out == "" and email in done.err
    assert plain is not None and not authenticate(database, plain).is_admin


def test_wrong_keys_of_every_kind_are_refused_alike(run: Run, database: Database, tmp_path: Path) -> None:
    first, _ = make_all(run, tmp_path)
    key = first["LONGSHORE_API_KEY"]
    said = set()
    for wrong in (
        "",
        "x",
        "lsk__",
        key[:-1],
        key + "x",
        key.upper(),
        f"lsk_\0_{key}",
        "lsk_" + "0" * 16 + "_x",
        key * 9,
    ):
        with pytest.raises(Unauthenticated) as refused:
            authenticate(database, wrong)
        said.add(str(refused.value))
    assert len(said) == 1


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/users", {"email": "new@doomed.example", "role": "user"}),
        ("/apiKeys", {}),
        ("/batchJobs", {"nodePoolId": "default", "imageRef": "tool:1"}),
        ("/nodePools", {"nodePool": {"dockerNodePool": {}}, "nodePoolId": "pool"}),
        ("/awsIamRoleBindings", {"principal": "a@doomed.example", "role": "r"}),
    ],
)
def test_call_with_a_kept_key_of_an_account_that_is_gone_is_no_500(
    run: Run, settings: Settings, tmp_path: Path, path: str, body: dict[str, object]
) -> None:
    """Another process may believe the key for half a second more: the account is gone under its calls."""
    _, operator = make_all(run, tmp_path)
    with (
        serving(settings) as deleting,
        serving(settings) as believing,
        client_of(f"{deleting}/v1", operator["LONGSHORE_API_KEY"]) as root,
    ):
        new = {"account": {"email": "a@doomed.example"}, "accountId": "doomed"}
        made = root.post("/accounts", json=new).json()
        with client_of(f"{believing}/v1/accounts/doomed", made["adminApiKey"]) as admin:
            assert admin.get("/users").status_code == 200
            assert root.delete("/accounts/doomed").status_code == 200
            answer = admin.post(path, json=body)
    assert answer.status_code in (400, 401, 404, 409), answer.text
