"""The fault catalogue of docs/reliability.md: each row brings a fault about and checks the outcome.

`python3 -m tests.faults`. A row is a function that takes a Sandbox, raises AssertionError where the
outcome is wrong and Skipped where the fault cannot be had on this machine.
"""

from __future__ import annotations

import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass

from tests.support import ROOT, Sandbox, wait_for

MANDATORY = frozenset(
    [*map(str, range(1, 11)), "15", "16", "17", "19", "21", "22", "23", "24",
     "26", "27", "28", "29", "30"]
)  # fmt: skip


class Skipped(Exception):
    """The fault cannot be brought about here; says why."""


@dataclass(frozen=True)
class Row:
    """One row of the catalogue. `fast`: it is among those that CI runs."""

    number: str
    title: str
    check: Callable[[Sandbox], None]
    fast: bool


ROWS: list[Row] = []


def row(number: str, title: str, *, fast: bool = True) -> Callable[..., Callable[[Sandbox], None]]:
    """Enter a function into the catalogue."""

    def enter(check: Callable[[Sandbox], None]) -> Callable[[Sandbox], None]:
        ROWS.append(Row(number, title, check, fast))
        return check

    return enter


def need(*tools: str) -> None:
    """Skip the row where a program is missing."""
    missing = [tool for tool in tools if shutil.which(tool) is None]
    if missing:
        raise Skipped(f"{' and '.join(missing)} not installed")


def check(truth: object, what: str) -> None:
    """Fail the row, saying what is wrong."""
    if not truth:
        raise AssertionError(what)


def equal(found: object, wanted: object, what: str) -> None:
    """Fail the row where two things differ."""
    check(found == wanted, f"{what}: {found!r}, not {wanted!r}")


def logged(body: str) -> str:
    """Make a job that writes its start and end, and says so if another run of it is alive.

    The lock is held by everything that the job leaves behind, so an overlap shows in the kernel.
    """
    return (
        'exec 9>"lock-$QUEUECTL_JOB_ID"; '
        'flock -n 9 || echo "overlap $QUEUECTL_JOB_ID" >> ledger; '
        'echo "start $QUEUECTL_JOB_ID" >> ledger\n'
        f'{body}\nstatus=$?; echo "end $QUEUECTL_JOB_ID" >> ledger; exit $status'
    )


def started(box: Sandbox, job_id: str, times: int = 1) -> None:
    """Wait until a job has been started so many times."""
    wait_for(lambda: box.ledger().count(f"start {job_id}") >= times, f"start {times} of {job_id}")


def supervisors(box: Sandbox) -> list[int]:
    """Give the pids of the supervisors that are alive."""
    db = sqlite3.connect(f"file:{box.db}?mode=ro", uri=True)
    try:
        pids = [pid for (pid,) in db.execute("SELECT pid FROM pool ORDER BY id")]
    finally:
        db.close()
    alive = set(box.pids())
    return [pid for pid in pids if pid in alive]


def worker_of(box: Sandbox, job_id: str) -> int:
    """Give the pid of the worker that runs a job."""
    return next(int(str(w["pid"])) for w in box.workers() if w["job"] == job_id)


def quick_retries(box: Sandbox) -> None:
    """Let what is lost or failed be runnable again at once."""
    box.ok("config", "set", "backoff-base", "0")
    box.ok("config", "set", "kill-grace", "1s")


def run_module(*words: str, timeout_s: float = 600) -> None:
    """Run another suite; a failure of its is the row's."""
    done = subprocess.run(
        [sys.executable, "-m", *words], cwd=ROOT, capture_output=True, timeout=timeout_s
    )
    output = (done.stdout + done.stderr).decode("utf-8", "replace")
    check(done.returncode == 0, f"{' '.join(words)}: {output[-500:]}")


def converges(box: Sandbox) -> None:
    """Drain what is left in peace, then check the promises."""
    box.run("worker", "stop", "--now")
    box.run("worker", "run", "--burst", "--count", "2", timeout_s=120)
    counts = box.ok("status", "--json").json["jobs"]  # type: ignore[call-overload, index]
    left = {state: counts[state] for state in ("pending", "processing", "failed")}
    equal(left, {"pending": 0, "processing": 0, "failed": 0}, "what is left")
    sound(box)


def killed_at(
    phase: Callable[[Sandbox, int], tuple[int, int]], box: Sandbox, *, sample: int, least: int
) -> None:
    """Kill at so many points of a phase of tests.crashpoints; at least so many must arrive."""
    need("strace")
    _, hits = phase(box, sample)
    check(hits >= least, f"only {hits} kills arrived")
    sound(box)


def sound(box: Sandbox) -> None:
    """Check that the file is sound, that nothing overlapped and that nothing is alive."""
    db = sqlite3.connect(box.db)
    equal(db.execute("PRAGMA integrity_check").fetchone()[0], "ok", "integrity")
    db.close()
    overlaps = [line for line in box.ledger() if line.startswith("overlap")]
    equal(overlaps, [], "overlaps")
    wait_for(lambda: not box.pids(), f"no process to be left of {box.pids()}", 10)


KILL, TERM, STOP, CONT = signal.SIGKILL, signal.SIGTERM, signal.SIGSTOP, signal.SIGCONT
