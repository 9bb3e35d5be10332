"""`deploy/doctor`: look at everything, say what is wrong and its cure, change nothing.

A line for each check: ok, warning, fault, or not checked where it needs something that is not right. The exit code
is 1 where there is a fault. Run it on the platform's host as who ran deploy/up.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Mapping, Sequence

from client.findings import Found, each_found, has_fault, tally
from deploy.diagnosis.checks import CHECKS
from deploy.diagnosis.site import Site


def main(words: Sequence[str], environment: Mapping[str, str]) -> int:
    """Check and tell; 1 where there is a fault."""
    parser = argparse.ArgumentParser(
        prog="deploy/doctor", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", action="store_true", help="one document, for programs")
    as_json = parser.parse_args(words).json
    found: list[Found] = []
    for each in each_found(CHECKS, Site(environment)):
        found.append(each)
        if not as_json:
            print(each.line, flush=True)
    failed = has_fault(found)
    if as_json:
        print(json.dumps({"healthy": not failed, "checks": [each.document for each in found]}, indent=1))
    else:
        print(f"\n{tally(found)}")
    return int(failed)


if __name__ == "__main__":
    code = main(sys.argv[1:], os.environ)
    sys.stdout.flush()
    # Threads of checks that hang are left behind, and some hold what an orderly end would wait for.
    os._exit(code)
