"""Rows 2 to 6, 12 to 14 and 24: workers and supervisors that are killed, stopped or confused."""

from __future__ import annotations

import os
import shlex
import signal
import sqlite3
import subprocess
import time
from pathlib import Path

from tests import crashpoints
from tests.faults import (
    CONT,
    KILL,
    STOP,
    TERM,
    Skipped,
    check,
    converges,
    equal,
    killed_at,
    logged,
    need,
    quick_retries,
    row,
    run_module,
    sound,
    started,
    supervisors,
    worker_of,
)
from tests.support import Sandbox, is_alive, wait_for


@row("2", "worker killed at each step of a job")
def worker_killed(box: Sandbox) -> None:
    killed_at(crashpoints.worker, box, sample=14, least=10)


@row("2", "supervisor killed at each step")
def supervisor_killed(box: Sandbox) -> None:
    killed_at(crashpoints.supervisor, box, sample=6, least=4)


@row("2", "worker killed while it comes up")
def boot_killed(box: Sandbox) -> None:
    killed_at(crashpoints.boot, box, sample=6, least=4)


@row("2", "all of these, at every system call", fast=False)
def killed_everywhere(box: Sandbox) -> None:
    need("strace")
    run_module("tests.crashpoints", timeout_s=3600)


@row("3", "supervisor SIGKILLed alone")
def supervisor_alone(box: Sandbox) -> None:
    gate = box.gate("gate")
    running = box.enqueue("-q", logged(f"cat {gate}"))
    box.ok("worker", "start")
    started(box, running)
    waiting = box.enqueue("-q", logged("true"))
    worker = worker_of(box, running)
    supervisor = supervisors(box)[0]
    os.kill(supervisor, KILL)
    wait_for(lambda: not is_alive(supervisor), "the supervisor's end")  # kill does not wait for it
    gate.open()
    box.wait_state(running, "completed")
    wait_for(lambda: not is_alive(worker), "the orphaned worker to leave")
    equal(box.state_of(waiting), "pending", "the next job")
    box.ok("worker", "start")
    box.wait_state(waiting, "completed")
    equal(box.ledger().count(f"start {running}"), 1, "starts")
    converges(box)


@row("3", "supervisor SIGKILLed while its workers come up")
def supervisor_gone_at_boot(box: Sandbox) -> None:
    box.enqueue("-q", "true")  # it makes the file
    start = box.start("worker", "start", "--count", "40")
    wait_for(lambda: len(box.pids()) > 5, "the first workers")
    for pid in wait_for(lambda: supervisors(box), "the supervisor"):  # type: ignore[attr-defined]
        os.kill(pid, KILL)
    said = start.communicate(timeout=30)[1]
    equal((start.returncode, said.count(b"\n")), (1, 1), f"worker start said {said!r}")
    wait_for(lambda: not box.pids(), "the workers to leave")
    log = box.state / "worker.log"
    equal(log.read_text() if log.exists() else "", "", "worker.log")
    converges(box)


@row("4", "supervisor and all workers SIGKILLed at once")
def everybody_killed(box: Sandbox) -> None:
    quick_retries(box)
    first = [box.enqueue("-q", logged("test -e again || sleep 60")) for _ in range(2)]
    box.ok("worker", "start", "--count", "2")
    for job in first:
        started(box, job)
    victims = [*supervisors(box), *(int(str(w["pid"])) for w in box.workers())]
    for pid in victims:
        os.kill(pid, KILL)
    (box.dir / "again").touch()
    box.ok("worker", "start", "--count", "2")
    for job in first:
        box.wait_state(job, "completed", timeout_s=10)
        equal([run["outcome"] for run in box.job(job)["history"]], ["lost", "succeeded"], job)  # type: ignore[union-attr, index]
    converges(box)


def _foreground(box: Sandbox) -> subprocess.Popen[bytes]:
    """Run two workers in the foreground: the one that stays idle shows when a stop has arrived."""
    pool = subprocess.Popen(
        box.command("worker", "run", "--count", "2"),
        env=box.env,
        cwd=box.dir,
        stderr=subprocess.DEVNULL,
    )
    wait_for(lambda: len(box.workers()) == 2, "the workers to be up")
    return pool


@row("5", "TERM, INT, HUP: once drains, twice ends the job, three times kills it")
def signals(box: Sandbox) -> None:
    box.ok("config", "set", "kill-grace", "60s")
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        gate = box.gate(f"gate-{number}")
        job = box.enqueue("-q", logged(f"cat {gate}"))
        pool = _foreground(box)
        started(box, job)
        pool.send_signal(number)
        wait_for(lambda: len(box.workers()) == 1, "the idle worker to leave")
        equal(box.state_of(job), "processing", f"the job after signal {number}")
        gate.open()
        equal(pool.wait(30), 0, f"exit status after signal {number}")
        equal(box.state_of(job), "completed", f"the job after signal {number}")
    for times in (2, 3):
        heard = "echo heard >> ledger" if times == 3 else "echo heard >> ledger; exit 7"
        job = box.enqueue("-q", logged(f"trap '{heard}' TERM; while :; do sleep 1; done"))
        pool = _foreground(box)
        started(box, job)
        # Two signals in a row are one to the kernel: the next comes when the last has had effect.
        pool.send_signal(TERM)
        wait_for(lambda: len(box.workers()) == 1, "the idle worker to leave")
        check("heard" not in box.ledger()[-1], "the first signal ended the job")
        pool.send_signal(TERM)
        wait_for(lambda: box.ledger()[-1] == "heard", "the job to hear TERM")
        if times == 3:
            check(is_alive(pool.pid), "the pool left before its job")
            pool.send_signal(TERM)
        equal(pool.wait(50), 0, "exit status, long before the grace is over")
        told = box.job(job)
        equal((told["state"], told["attempts"]), ("pending", 0), f"after {times} signals")
        box.ok("cancel", job)
    sound(box)


@row("5", "the terminal is closed: background workers go on, a foreground pool drains")
def closed_terminal(box: Sandbox) -> None:
    need("tmux")
    tmux = ["tmux", "-S", str(box.dir / "tmux"), "-f", "/dev/null"]
    here = {"env": {**box.env, "TERM": "screen", "SHELL": "/bin/sh"}, "cwd": box.dir}

    def say(*words: str) -> str:
        done = subprocess.run([*tmux, *words], capture_output=True, timeout=30, **here)  # type: ignore[call-overload]
        check(done.returncode == 0, f"tmux {words}: {done.stderr}")
        return str(done.stdout.decode().strip())

    def type_into_new_pane(*words: str) -> tuple[str, int]:
        asked = ["-d", "-P", "-F", "#{pane_id} #{pane_pid}"]
        first = not (box.dir / "tmux").exists()
        pane, pid = say("new-session" if first else "new-window", *asked).split()
        say("send-keys", "-t", pane, "-l", shlex.join(box.command(*words)))
        say("send-keys", "-t", pane, "Enter")
        return pane, int(pid)

    try:
        pane, back_shell = type_into_new_pane("worker", "start", "--queue", "back")
        _, front_shell = type_into_new_pane("worker", "run", "--queue", "front", "--count", "2")
        wait_for(lambda: len(box.workers()) == 3, "all to be up")
        gates = {queue: box.gate(queue) for queue in ("back", "front")}
        jobs = {
            queue: box.enqueue("-q", "--queue", queue, logged(f"cat {gate}"))
            for queue, gate in gates.items()
        }
        for job in jobs.values():
            started(box, job)
        say("kill-pane", "-t", pane)
        wait_for(lambda: not is_alive(back_shell), "the shell of the first to be gone")
        say("kill-server")
        wait_for(lambda: not is_alive(front_shell), "the terminal to be gone")
        wait_for(lambda: len(box.workers()) == 2, "the idle worker of the foreground to leave")
        equal(len(supervisors(box)), 2, "supervisors while the jobs run")
        later = {q: box.enqueue("-q", "--queue", q, logged("true")) for q in gates}
        for queue, gate in gates.items():
            gate.open()
            box.wait_state(jobs[queue], "completed")
        box.wait_state(later["back"], "completed")
        wait_for(lambda: len(supervisors(box)) == 1, "the foreground pool to be gone")
        equal(box.state_of(later["front"]), "pending", "a job after the foreground pool")
        equal([w["queues"] for w in box.workers()], [["back"]], "who is left")
    finally:
        subprocess.run([*tmux, "kill-server"], capture_output=True, **here)  # type: ignore[call-overload]
    converges(box)


@row("6", "worker SIGSTOPped for long", fast=False)
def stopped_for_long(box: Sandbox) -> None:
    _stopped(box, 30)


@row("6", "worker SIGSTOPped")
def stopped_shortly(box: Sandbox) -> None:
    _stopped(box, 4)


def _stopped(box: Sandbox, seconds: float) -> None:
    gate = box.gate("gate")
    job = box.enqueue("-q", logged(f"cat {gate}"))
    box.ok("worker", "start", "--count", "2")
    started(box, job)
    pid = worker_of(box, job)
    os.kill(pid, STOP)
    try:
        gate.open()  # the job ends while nobody can record it
        time.sleep(seconds)  # wait: that nothing happens is the point
        equal(box.ledger().count(f"start {job}"), 1, "starts while it is stopped")
        states = {w["pid"]: w["state"] for w in box.workers()}
        equal(states[pid], "stopped", "shown as")
    finally:
        os.kill(pid, CONT)
    box.wait_state(job, "completed")
    equal(box.ledger().count(f"start {job}"), 1, "starts")
    converges(box)


@row("12", "a stranger has got the dead worker's pid")
def pid_reuse(box: Sandbox) -> None:
    last = Path("/proc/sys/kernel/ns_last_pid")
    quick_retries(box)
    job = box.enqueue("-q", logged("test -e again || sleep 60"))
    box.ok("worker", "start")
    started(box, job)
    worker, supervisor = worker_of(box, job), supervisors(box)[0]
    for pid in (supervisor, worker):
        os.kill(pid, KILL)
    strangers = []
    try:
        for pid in (supervisor, worker):
            strangers.append(_take_pid(last, pid))
        equal(box.workers(), [], "workers that are shown")
        (box.dir / "again").touch()
        equal(box.ok("worker", "stop").out, "No workers are running.\n", "stop")
        box.ok("worker", "start")
        box.wait_state(job, "completed")
        check(all(s.poll() is None for s in strangers), "a stranger was signalled")
    finally:
        for stranger in strangers:
            stranger.kill()
            stranger.wait()
    converges(box)


def _take_pid(last: Path, pid: int) -> subprocess.Popen[bytes]:
    """Start a process that gets this pid."""
    for _ in range(50):
        wait_for(lambda: not Path(f"/proc/{pid}").exists(), f"pid {pid} to be free")
        try:
            last.write_text(str(pid - 1))
        except OSError as error:
            raise Skipped(f"ns_last_pid cannot be written: {error.strerror}") from None
        stranger = subprocess.Popen(["sleep", "60"])
        if stranger.pid == pid:
            return stranger
        stranger.kill()
        stranger.wait()
    raise Skipped(f"pid {pid} could not be had")


@row("13", "reboot: the register is of another boot")
def reboot(box: Sandbox) -> None:
    quick_retries(box)
    job = box.enqueue("-q", logged("test -e again || sleep 60"))
    box.ok("worker", "start")
    started(box, job)
    for pid in [*supervisors(box), worker_of(box, job)]:
        os.kill(pid, KILL)
    db = sqlite3.connect(box.db)
    for table in ("pool", "worker"):
        # The pids are alive on this boot, and belong to somebody else.
        db.execute(f"UPDATE {table} SET birth = 'another-boot:1', pid = ?", (os.getpid(),))
    db.commit()
    db.close()
    (box.dir / "again").touch()
    box.ok("worker", "start")
    box.wait_state(job, "completed")
    converges(box)


@row("14", "a worker that cannot come up: back-off, loud, start fails")
def no_boot(box: Sandbox) -> None:
    box.ok("worker", "start")
    run = box.state / "run"
    victim = int(str(box.workers()[0]["pid"]))
    run.rename(box.state / "moved")
    run.write_text("in the way")
    os.kill(victim, KILL)
    log = box.state / "worker.log"
    wait_for(lambda: "not a directory" in log.read_text(), "the trouble in worker.log")
    before = log.read_text().count("\n")
    time.sleep(3)  # wait: it must not spin meanwhile
    check(log.read_text().count("\n") - before < 20, "it spins")
    failed = box.run("worker", "start")
    equal((failed.code, failed.err.count("\n")), (1, 1), f"start said {failed.err}")
    run.unlink()
    (box.state / "moved").rename(run)
    job = box.enqueue("-q", logged("true"))
    box.wait_state(job, "completed", timeout_s=60)
    converges(box)


@row("24", "a stale worker finishes after its job was given to another")
def stale(box: Sandbox) -> None:
    from queuectl.lifecycle import Kind, Outcome, decide
    from queuectl.place import Place
    from queuectl.storage import Storage

    quick_retries(box)
    gate = box.gate("gate")
    job = box.enqueue("-q", f"echo $QUEUECTL_JOB_RUN >> ledger; cat {gate}; exit 7")
    box.ok("worker", "start")
    wait_for(lambda: box.ledger() == ["1"], "the first run")
    stale_pid = worker_of(box, job)
    os.kill(stale_pid, STOP)
    store = Storage(Place(str(box.db)))
    record = store.job(job)
    lost = Outcome(Kind.LOST, error="declared lost by the test", duration_s=0.0)
    now = int(time.time() * 1000)
    check(store.finish(record, lost, decide(record, lost, now), now, None)[0], "not given away")
    store.close()
    box.ok("worker", "start")
    wait_for(lambda: box.ledger() == ["1", "2"], "the second run")
    for _ in range(2):
        gate.open()
    box.wait_state(job, "failed", "dead", "processing")
    os.kill(stale_pid, CONT)
    wait_for(lambda: "no longer ours" in (box.state / "worker.log").read_text(), "the fence")
    outcomes = [run["outcome"] for run in box.job(job)["history"]][:2]  # type: ignore[union-attr, index]
    equal(outcomes[0], "lost", "the first run stays as it was recorded")
    box.ok("cancel", job)
