"""Ctrl-C at a terminal, while the platform does not answer."""

from __future__ import annotations

import os
import sys
from contextlib import closing
from pathlib import Path

import pexpect

from client import Longshore
from tests.api.conftest import ACCOUNT, IMAGE, Served
from tests.lab.platform import ROOT, wait_until
from tests.lab.proxy import ReplyProxy


def test_ctrl_c_while_the_cancellation_is_not_answered_detaches(
    served: Served, longshore: Longshore, proxy: ReplyProxy, tmp_path: Path
) -> None:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("LONGSHORE_")}
    variables = {
        **kept,
        "PYTHONPATH": str(ROOT),
        "TERM": "xterm-256color",
        "LONGSHORE_URL": f"http://127.0.0.1:{proxy.port}",
        "LONGSHORE_ACCOUNT": ACCOUNT,
        "LONGSHORE_API_KEY": served.admin_key,
        "XDG_CONFIG_HOME": str(tmp_path / "config"),
    }
    words = ["-m", "client.command_line", "submit", "--id", "unheard", "--image", IMAGE, "true"]
    with closing(pexpect.spawn(sys.executable, words, env=variables, dimensions=(24, 80), timeout=20)) as session:
        session.expect("queued")
        session.sendintr()
        session.expect("d = detach")
        proxy.withhold_after([b":cancel"])
        session.sendline("c")
        wait_until(proxy.withheld.is_set, 20, "the answer to the cancellation is lost")
        session.sendintr()
        session.expect("whether it was heard is not known")
        session.expect("longshore logs -f unheard")
        session.expect(pexpect.EOF)
        session.wait()
        assert session.exitstatus == 130
    assert longshore.job("unheard").state == "CANCELLED"
