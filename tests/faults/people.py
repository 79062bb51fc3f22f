"""Rows 27 to 29 and 31: odd surroundings, hostile input, things in the way, the dashboard."""

from __future__ import annotations

from tests.faults import Skipped, row
from tests.faults.storage import run_module
from tests.support import ROOT, Sandbox


@row("27", "HOME, umask, descriptors, stdout and locale as nobody would want them")
def surroundings(box: Sandbox) -> None:
    run_module("unittest", "tests.test_bad_input", "tests.test_environment")


@row("28", "hostile ids, commands, labels, numbers; terminal escapes")
def hostile(box: Sandbox) -> None:
    run_module("unittest", "tests.test_values", "tests.test_bad_input")


@row("29", "symlink, hard link or FIFO in a log's place")
def planted(box: Sandbox) -> None:
    target = box.dir / "target"
    target.write_text("untouched")
    logs = box.state / "logs"
    box.enqueue("-q", "true")  # it makes the directories
    box.ok("worker", "run", "--burst")
    import os

    jobs = [box.enqueue("-q", "--max-retries", "0", "echo hi") for _ in range(3)]
    (logs / f"{jobs[0]}.log").symlink_to(target)
    os.link(target, logs / f"{jobs[1]}.log")
    os.mkfifo(logs / f"{jobs[2]}.log")
    box.run("worker", "run", "--burst")
    for job in jobs:
        told = box.job(job)
        if told["state"] != "dead" or "log" not in str(told["error"]):
            raise AssertionError(f"{told['state']}: {told['error']}")
    if target.read_text() != "untouched":
        raise AssertionError("the target was written to")


@row("31", "dashboard: foreign Host, cross-site POST, other methods, non-loopback bind")
def dashboard(box: Sandbox) -> None:
    built = list((ROOT / "queuectl").glob("dashboard*")) or box.run("serve", "--help").code == 0
    if not built:
        raise Skipped("waits for the dashboard, which is not built yet")
    raise AssertionError("the dashboard is built, and nothing here checks it")
