"""queuectl under Debian's cron: `python3 -m tests.realcron`, about a minute and a half.

`* * * * * queuectl worker run --burst --for 55s`, twice, so that two of them overlap: the queue
must be drained, each job run once, and no worker left.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from tests.support import ROOT, Sandbox, wait_for

JOBS = 40


def main() -> int:
    """Run it; exit status 0 done, 1 wrong, 77 where there is no cron that we may start."""
    cron = shutil.which("cron")
    if cron is None or os.geteuid() != 0:
        print("skipped: Debian's cron is not here, or we are not root")
        return 77
    box = Sandbox()
    table = Path(f"/etc/cron.d/queuectl-test-{os.getpid()}")
    daemon = subprocess.Popen([cron, "-f"], stderr=subprocess.DEVNULL)
    try:
        return _drained_by_cron(box, table)
    finally:
        table.unlink(missing_ok=True)
        daemon.terminate()
        daemon.wait()
        box.close()


def _drained_by_cron(box: Sandbox, table: Path) -> int:
    for number in range(JOBS):
        box.enqueue("-q", f"echo {number} >> {box.dir}/ledger")
    line = f"* * * * * root cd {ROOT} && {sys.executable} -m queuectl worker run --burst --for 55s"
    table.write_text(
        f"PATH={os.environ['PATH']}\nQUEUECTL_DB={box.db}\n" + f"{line} >>{box.dir}/out 2>&1\n" * 2
    )
    wait_for(lambda: len(box.ledger()) >= JOBS, "cron to drain the queue", timeout_s=150)
    wait_for(lambda: not box.workers(), "the workers to leave", timeout_s=60)
    table.unlink()
    once = sorted(map(int, box.ledger())) == list(range(JOBS))
    print(f"cron drained {len(box.ledger())} of {JOBS} jobs, each once: {once}")
    return int(not once)


if __name__ == "__main__":
    sys.exit(main())
