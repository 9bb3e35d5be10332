"""`tests/faults/run`: faults by their ids, or all; the table of what was found; a judgement of old records."""

from __future__ import annotations

import argparse
import secrets
import shutil
import sys
from pathlib import Path

from tests.faults.catalogue import FAULTS, Fault
from tests.faults.harness import table
from tests.faults.harness.checker import check_folder
from tests.faults.harness.trial import Outcome
from tests.lab.run import prepared
from tests.lab.servers import Servers


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
    faults = list(FAULTS.values()) if asked.all else [FAULTS[name] for name in asked.faults]
    if not faults:
        print("name faults, or --all; there are: " + " ".join(FAULTS))
        return 2
    with prepared("busybox-static", "docker-registry", "apache2-utils"):
        servers = Servers()
        try:
            bad = [fault.id for fault in faults if not _play(fault, servers, asked)]
        finally:
            servers.stop()
    if bad:
        print(f"\nnot as it must be: {' '.join(bad)}")
    return 1 if bad else 0


def replay_command(fault: Fault, seed: int, *, short: bool, rounds: int) -> str:
    """What runs the same fault with the same choices."""
    return f"tests/faults/run {fault.id} --seed {seed} --rounds {rounds}" + (" --short" if short else "")


def show(fault: Fault, outcome: Outcome, command: str) -> str:
    """A run in words; what was found, where its records are and how to run it again."""
    recovery = "" if outcome.recovery_seconds is None else f", recovered within {outcome.recovery_seconds:.1f} s"
    head = f"{fault.id}: {outcome.jobs} jobs, {outcome.rounds} rounds, {outcome.seconds:.0f} s{recovery}"
    if not outcome.findings:
        return f"{head}: as it must be"
    return "\n".join(
        [head, *map(str, outcome.findings), f"its records are in {outcome.folder}", f"again: {command}"]
    )


def _play(fault: Fault, servers: Servers, asked: argparse.Namespace) -> bool:
    seed = secrets.randbelow(1 << 31) if asked.seed is None else asked.seed
    rounds = asked.rounds or (1 if asked.short else fault.rounds)
    command = replay_command(fault, seed, short=asked.short, rounds=rounds)
    print(f"\n{fault.id}: {fault.what}\n{command}", flush=True)
    outcome = fault.play(servers, seed=seed, short=asked.short, rounds=rounds, folder=asked.folder)
    print(show(fault, outcome, command), flush=True)
    if not asked.short:
        table.add(fault, outcome, seed)
    if not outcome.findings and asked.folder is None:
        shutil.rmtree(outcome.folder, ignore_errors=True)
    return not outcome.findings


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="tests/faults/run", description=__doc__)
    parser.add_argument("faults", nargs="*", metavar="F-n", choices=[[], *FAULTS], help=" ".join(FAULTS))
    parser.add_argument("--all", action="store_true", help="every fault, one after the other")
    parser.add_argument("--short", action="store_true", help="few rounds, small load: what the test suite runs")
    parser.add_argument("--seed", type=int, help="of all choices; printed where it is not given")
    parser.add_argument("--rounds", type=int, default=0, help="instead of the fault's own number")
    parser.add_argument("--folder", type=Path, help="where the records are kept; else a new one, kept on failure")
    parser.add_argument("--check", type=Path, metavar="FOLDER", help="judge the records of an earlier run again")
    parser.add_argument("--write-table", action="store_true", help="write docs/faults.md from the runs so far")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
