"""`tests/faults/run`: faults by their ids, or all; the table of what was found; a judgement of old records."""

from __future__ import annotations

import argparse
import secrets
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.faults.catalogue import FAULTS, SUITES, Fault, play_together
from tests.faults.harness import table
from tests.faults.harness.checker import check_folder
from tests.faults.harness.suites import Suite
from tests.faults.harness.trial import Outcome
from tests.lab.run import PACKAGES, prepared
from tests.lab.servers import Servers

_ALL: dict[str, Fault | Suite] = {**FAULTS, **SUITES}


def main() -> int:
    """Run what is asked for; 0 where nothing was missed, twice, leaked or illegal."""
    asked = _arguments()
    if asked.check:
        findings = check_folder(asked.check)
        print(*findings, f"{len(findings)} findings", sep="\n")
        return 1 if findings else 0
    if asked.write_table:
        table.publish()
        return 0
    faults = list(_ALL.values()) if asked.all else [_ALL[name] for name in asked.faults]
    if not faults:
        print("name faults, or --all; there are: " + " ".join(_ALL))
        return 2
    with prepared(*PACKAGES, notebooks=True):
        servers = Servers()
        try:
            if asked.together:
                bad = [] if _play_together(asked.faults, servers, asked) else asked.faults
            else:
                bad = [fault.id for fault in faults if not _play(fault, servers, asked)]
        finally:
            servers.stop()
    if bad:
        print(f"\nnot as it must be: {' '.join(bad)}")
    return 1 if bad else 0


def replay_command(fault: Fault, seed: int, *, short: bool, rounds: int) -> str:
    """What runs the same fault with the same choices."""
    return f"tests/faults/run {fault.id} --seed {seed} --rounds {rounds}" + (" --short" if short else "")


def together_command(ids: Sequence[str], seed: int) -> str:
    """Likewise of `play_together`."""
    return f"tests/faults/run {' '.join(ids)} --together --seed {seed}"


def show(name: str, outcome: Outcome, command: str) -> str:
    """A run in words; what was found, where its records are and how to run it again."""
    recovery = "" if outcome.recovery_seconds is None else f", recovered within {outcome.recovery_seconds:.1f} s"
    jobs = f"{outcome.jobs} jobs, {outcome.rounds} rounds" if outcome.jobs else f"{outcome.rounds} tests"
    head = f"{name}: {jobs}, {outcome.seconds:.0f} s{recovery}"
    if not outcome.findings:
        return f"{head}: as it must be"
    return "\n".join(
        [head, *map(str, outcome.findings), f"its records are in {outcome.folder}", f"again: {command}"]
    )


def _play(fault: Fault | Suite, servers: Servers, asked: argparse.Namespace) -> bool:
    seed: int | None = None
    if isinstance(fault, Suite):
        command = f"tests/faults/run {fault.id}" + (" --short" if asked.short else "")
        print(f"\n{fault.id}: {fault.what}\n{command}", flush=True)
        outcome = fault.play(short=asked.short, folder=asked.folder)
    else:
        seed = secrets.randbelow(1 << 31) if asked.seed is None else asked.seed
        rounds = asked.rounds or (1 if asked.short else fault.rounds)
        command = replay_command(fault, seed, short=asked.short, rounds=rounds)
        print(f"\n{fault.id}: {fault.what}\n{command}", flush=True)
        outcome = fault.play(servers, seed=seed, short=asked.short, rounds=rounds, folder=asked.folder)
    print(show(fault.id, outcome, command), flush=True)
    if not asked.short:
        table.add(fault.id, fault.what, outcome, command)
    if not outcome.findings and asked.folder is None:
        shutil.rmtree(outcome.folder, ignore_errors=True)
    return not outcome.findings


def _play_together(ids: Sequence[str], servers: Servers, asked: argparse.Namespace) -> bool:
    seed: int = secrets.randbelow(1 << 31) if asked.seed is None else asked.seed
    command = together_command(ids, seed)
    print(command, flush=True)
    outcome = play_together(ids, servers, seed=seed, folder=asked.folder)
    print(show(" ".join(ids), outcome, command), flush=True)
    return not outcome.findings


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="tests/faults/run", description=__doc__)
    parser.add_argument("faults", nargs="*", metavar="F-n", choices=[[], *_ALL], help=" ".join(_ALL))
    parser.add_argument("--all", action="store_true", help="every fault, one after the other")
    parser.add_argument("--short", action="store_true", help="few rounds, small load: what the test suite runs")
    parser.add_argument("--together", action="store_true", help="short forms of these, in turn on one platform")
    parser.add_argument("--seed", type=int, help="of all choices; printed where it is not given")
    parser.add_argument("--rounds", type=int, default=0, help="instead of the fault's own number")
    parser.add_argument("--folder", type=Path, help="where the records are kept; else a new one, kept on failure")
    parser.add_argument("--check", type=Path, metavar="FOLDER", help="judge the records of an earlier run again")
    parser.add_argument("--write-table", action="store_true", help="write docs/faults.md from the runs so far")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
