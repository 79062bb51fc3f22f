"""Limits under fire: `python3 -m tests.underfire [--seconds N] [--seed S]`.

Eight workers in two pools run jobs of one to three slots in a queue of three, while workers and
supervisors are killed. Each job takes a lock of its own on every slot it was told it holds, so an
overlap shows in the kernel, whatever queuectl believes. A second queue has a rate; its starts are
looked at in every window.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import sqlite3
import sys
import time

from tests.support import Sandbox, wait_for

SLOTS = 3
RATE = 10
# A lock on each slot, held by the job's shell and whatever it starts, until the last of it ends.
JOB = """bash -c '
for slot in ${QUEUECTL_JOB_SLOTS//,/ }; do
    exec {fd}<>slot-$slot && flock -n $fd || echo "overlap on $slot" >> ledger
done
echo start >> ledger; sleep 0.%02d; echo end >> ledger'"""


def main() -> int:
    """Run it and print what was found; exit status 1 where a limit did not hold."""
    parser = argparse.ArgumentParser(allow_abbrev=False)
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    options = parser.parse_args()
    box = Sandbox()
    try:
        return _report(box, options.seed, _fire(box, options.seconds, options.seed))
    finally:
        box.close()


def _fire(box: Sandbox, seconds: float, seed: int) -> int:
    """Let the pools work under kills, then drain in peace; give the number of kills."""
    rng = random.Random(seed)
    box.ok("config", "set", "backoff-max", "100ms")
    box.ok("queue", "set", "narrow", "--concurrency", str(SLOTS))
    box.ok("queue", "set", "slow", "--rate", f"{RATE}/1s")
    _enqueue(box, rng, jobs=int(seconds * 15))
    for _ in range(2):
        box.ok("worker", "start", "--count", "4")
    kills = 0
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        victims = _supervisors(box) if rng.random() < 0.1 else _workers(box)
        if victims:
            kills += _kill(rng.choice(victims))
        if len(_supervisors(box)) < 2:
            box.ok("worker", "start", "--count", "4")
        time.sleep(rng.random() * 0.4)  # wait between two kills
    box.run("wait", "--timeout", "120s", timeout_s=150)
    return kills


def _enqueue(box: Sandbox, rng: random.Random, jobs: int) -> None:
    lines = []
    for _ in range(jobs):
        command = JOB % rng.randrange(15)
        job = {"command": command, "queue": "narrow", "slots": rng.randint(1, SLOTS)}
        lines.append(json.dumps({**job, "max_retries": 50, "backoff_base": 0}))
        lines.append(json.dumps({"command": "true", "queue": "slow", "max_retries": 50}))
    box.ok("enqueue", "--file", "-", stdin="\n".join(lines).encode())


def _workers(box: Sandbox) -> list[int]:
    return [int(str(worker["pid"])) for worker in box.workers()]


def _supervisors(box: Sandbox) -> list[int]:
    db = sqlite3.connect(f"file:{box.db}?mode=ro", uri=True)
    pids = [pid for (pid,) in db.execute("SELECT pid FROM pool")]
    db.close()
    alive = set(box.pids())
    return [pid for pid in pids if pid in alive]


def _kill(pid: int) -> int:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return 0
    return 1


def _report(box: Sandbox, seed: int, kills: int) -> int:
    wait_for(lambda: not box.ok("status", "--json").json["jobs"]["processing"], "the last job")  # type: ignore[call-overload, index]
    db = sqlite3.connect(box.db)
    starts = [
        at
        for (at,) in db.execute(
            "SELECT run.started_at FROM run JOIN job ON job.seq = run.job "
            "WHERE job.queue = 'slow' ORDER BY run.started_at"
        )
    ]
    db.close()
    ledger = box.ledger()
    overlaps = [line for line in ledger if line.startswith("overlap")]
    crowded = sum(later - first < 1000 for first, later in zip(starts, starts[RATE:], strict=False))
    done = box.ok("status", "--json").json["jobs"]  # type: ignore[call-overload, index]
    left = done["pending"] + done["failed"]
    print(
        f"seed {seed}: {kills} kills, {ledger.count('start')} starts in {SLOTS} slots, "
        f"{len(overlaps)} overlaps; {len(starts)} starts at {RATE}/s, {crowded} crowded windows; "
        f"{left} jobs left"
    )
    return int(bool(overlaps or crowded or left or not kills))


if __name__ == "__main__":
    sys.exit(main())
