"""Rows 1, 19, 21 to 23, 26 and 32: what may befall the database file."""

from __future__ import annotations

import subprocess

from tests import crashpoints
from tests.faults import (
    Skipped,
    check,
    converges,
    equal,
    killed_at,
    logged,
    need,
    row,
    run_module,
)
from tests.support import ROOT, Sandbox, wait_for


@row("1", "client killed at the syscalls of an enqueue")
def client_killed(box: Sandbox) -> None:
    killed_at(crashpoints.enqueue, box, sample=25, least=20)


@row("19", "power cut")
def power_cut(box: Sandbox) -> None:
    need("strace")
    if not (ROOT / "tests" / "powercut.py").exists():
        raise Skipped("tests.powercut is not there")
    run_module("tests.powercut", "--fast")


@row("21", "16 workers and 16 clients writing")
def many(box: Sandbox) -> None:
    box.ok("worker", "start", "--count", "16")
    script = (
        'for n in $(seq 6); do "$@" enqueue -q "echo $0-$n >> ledger" || echo "failed $?"; done'
    )
    clients = [
        subprocess.Popen(
            ["sh", "-c", script, str(number), *box.command()],
            env=box.env,
            cwd=box.dir,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        for number in range(16)
    ]
    for client in clients:
        out, err = client.communicate(timeout=120)
        check(b"failed" not in out and b"locked" not in err, (out + err).decode())
    wait_for(lambda: len(box.ledger()) >= 96, "96 jobs", 60)
    converges(box)
    equal(len(set(box.ledger())), len(box.ledger()), "each job once")


@row("22", "one id from 50 clients, ten starts at once, stop during start")
def crowds(box: Sandbox) -> None:
    clients = [
        subprocess.Popen(
            box.command("enqueue", "-q", "--id", "one", logged("true")),
            env=box.env,
            cwd=box.dir,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        for _ in range(50)
    ]
    codes = sorted(client.wait(120) for client in clients)
    equal(codes, [0] + [5] * 49, "exit codes")
    quiet = {"env": box.env, "cwd": box.dir, "stdout": subprocess.DEVNULL}
    starts = [subprocess.Popen(box.command("worker", "start"), **quiet) for _ in range(10)]  # type: ignore[call-overload]
    equal({start.wait(120) for start in starts}, {0}, "starts")
    equal(len(box.workers()), 10, "workers")
    box.ok("worker", "stop")
    start = subprocess.Popen(box.command("worker", "start", "--count", "4"), **quiet)  # type: ignore[call-overload]
    stop = subprocess.Popen(box.command("worker", "stop"), **quiet)  # type: ignore[call-overload]
    check(start.wait(60) in (0, 1) and stop.wait(60) == 0, "stop during start")
    box.ok("worker", "stop")
    equal(box.workers(), [], "workers after stop")
    converges(box)


@row("23", "retry, cancel, prune and hold racing claim and completion")
def races(box: Sandbox) -> None:
    run_module("tests.interleavings", "--count", "3000")


@row("26", "the database is removed or replaced under living workers")
def ghost(box: Sandbox) -> None:
    gate = box.gate("gate")
    job = box.enqueue("-q", f"cat {gate}")
    box.ok("worker", "start", "--count", "2")
    box.wait_state(job, "processing")
    box.db.unlink()  # as demo scripts do: -wal and -shm stay behind
    fresh = box.enqueue("-q", "echo fresh >> ledger")
    gate.open()
    wait_for(lambda: "removed or replaced" in (box.state / "worker.log").read_text(), "the log")
    wait_for(lambda: not box.pids(), "the ghost's workers to leave")
    equal(box.state_of(fresh), "pending", "the new file")
    box.ok("worker", "start")
    box.wait_state(fresh, "completed")
    converges(box)


@row("26", "files that are not ours or not safe")
def foreign(box: Sandbox) -> None:
    run_module("unittest", "tests.test_place")


@row("32", "migration killed half-way; eight clients open an old file at once")
def migration(box: Sandbox) -> None:
    run_module("unittest", "tests.test_migrate", "tests.test_early")
