"""Rows 7 to 10, 15, 16 and 30: what jobs do to their worker, their log and the queue."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path

from tests.faults import (
    KILL,
    Skipped,
    check,
    converges,
    equal,
    logged,
    need,
    quick_retries,
    row,
    sound,
    started,
    supervisors,
    worker_of,
)
from tests.support import Sandbox, wait_for

# It keeps nothing that could give it away: new session, orphaned, no environment, no descriptors.
HIDDEN = (
    'setsid env -i sh -c \'(exec 0<&- 1>&- 2>&-; for fd in 3 4 5 6 7 8 9; do eval "exec $fd>&-"; '
    "done; exec sleep {0}) & exec sleep {0}' >/dev/null 2>&1 &"
)

# It is another process, in a session of its own, each time somebody looks; 20 s later it ends.
CHAIN = """
import os, sys, time
end = time.monotonic() + 20
if sys.argv[1] == "closed":  # all but 9, by which the test sees it
    os.closerange(0, 9)
    os.closerange(10, 1000)
os.open(sys.argv[1], os.O_CREAT, 0o600)
while time.monotonic() < end:
    if os.fork():
        os._exit(0)
    os.setsid()
"""


def sleeping(number: int) -> list[int]:
    """List the processes that are `sleep NUMBER`."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                words = (entry / "cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            if words[:2] == [b"sleep", b"%d" % number]:
                found.append(int(entry.name))
    return found


def _odd_length() -> int:
    """Give a length to sleep that no other process has, to find the job's processes by."""
    return 100_000 + os.getpid() * 10 + time.monotonic_ns() % 10


@row("7", "poison job: kill -9 $PPID")
def poison(box: Sandbox) -> None:
    quick_retries(box)
    job = box.enqueue("-q", "--max-retries", "2", "echo x >> poison; kill -9 $PPID; sleep 60")
    others = [box.enqueue("-q", logged("true")) for _ in range(5)]
    box.ok("worker", "start", "--count", "2")
    told = box.wait_state(job, "dead", timeout_s=60)
    equal((told["attempts"], told["error"]), (3, "worker lost"), "the poison job")
    equal(len(box.ledger("poison")), 3, "its starts")
    for other in others:
        box.wait_state(other, "completed")
    converges(box)


@row("8", "hidden processes, ignored TERM: gone on timeout, cancel and stop")
def whole_tree(box: Sandbox) -> None:
    quick_retries(box)
    box.ok("worker", "start")
    length = _odd_length()
    for end in ("timeout", "cancel", "stop"):
        flags = ["--timeout", "1s", "--max-retries", "0"] if end == "timeout" else []
        hidden = HIDDEN.format(length)
        job = box.enqueue("-q", *flags, logged(f"trap '' TERM; {hidden} sleep {length}"))
        started(box, job)
        wait_for(lambda: len(sleeping(length)) >= 3, "three sleepers")
        if end == "cancel":
            box.ok("cancel", job)
        elif end == "stop":
            box.ok("worker", "stop", "--now")
        else:
            box.wait_state(job, "dead", timeout_s=15)
        equal(sleeping(length), [], f"after {end}")
        if end == "stop":
            box.ok("cancel", job)
    sound(box)


@row("8", "a fork storm under a pid limit")
def storm(box: Sandbox) -> None:
    group = Path(f"/sys/fs/cgroup/pids/queuectl-{os.getpid()}")
    try:
        group.mkdir()
        (group / "pids.max").write_text("80")
    except OSError as error:
        raise Skipped(f"no pids cgroup: {error.strerror}") from None
    try:
        box.ok("config", "set", "kill-grace", "1s")
        job = box.enqueue("-q", "--timeout", "2s", "--max-retries", "0", "--", "bash", "-c",
                          "storm() { storm | storm & }; storm; sleep 60")  # fmt: skip
        words = ["sh", "-c", f'echo $$ > {group}/cgroup.procs; exec "$@"', "sh"]
        pool = subprocess.Popen(
            [*words, *box.command("worker", "run", "--burst")],
            env=box.env, cwd=box.dir, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        pool.wait(60)
        equal((group / "cgroup.procs").read_text(), "", "processes of the storm")
        equal(box.state_of(job), "dead", "the job")
    finally:
        for pid in (group / "cgroup.procs").read_text().split():
            os.kill(int(pid), KILL)
        wait_for(lambda: not (group / "cgroup.procs").read_text(), "an empty cgroup")
        group.rmdir()


@row("9", "hidden processes whose worker is SIGKILLed first")
def hidden_and_lost(box: Sandbox) -> None:
    need("pgrep", "flock")  # without them its witness would be silent
    quick_retries(box)
    length = _odd_length()
    hidden = HIDDEN.format(length)
    # The second run looks whether anything of the first is alive.
    job = box.enqueue("-q", logged(
        f"test -e again && {{ pgrep -fx 'sleep {length}' >> ledger; exit 0; }}\n"
        f"trap '' TERM; {hidden} sleep {length}"
    ))  # fmt: skip
    box.ok("worker", "start")
    started(box, job)
    wait_for(lambda: len(sleeping(length)) >= 3, "three sleepers")
    (box.dir / "again").touch()
    os.kill(worker_of(box, job), KILL)
    box.wait_state(job, "completed")
    equal(box.ledger(), [f"start {job}", f"start {job}"], "the ledger")
    equal(sleeping(length), [], "sleepers")
    converges(box)


@row("9", "a chain of processes that fork and end, worker and supervisor SIGKILLed")
def chain(box: Sandbox) -> None:
    quick_retries(box)
    (box.dir / "chain.py").write_text(CHAIN)
    for kind in ("kept", "closed"):
        words = f"{sys.executable} -I -S chain.py {kind}"
        job = box.enqueue(
            "-q", "--id", kind, logged(f"test -e {kind} || {{ {words} & sleep 60; }}")
        )
        box.ok("worker", "start")
        wait_for(lambda kind=kind: (box.dir / kind).exists(), "the chain to run")  # type: ignore[misc]
        for pid in (worker_of(box, job), *supervisors(box)):
            os.kill(pid, KILL)
        box.ok("worker", "start")
        # Dead at once, or the job is stuck until the chain ends: but never a second run beside it.
        told = box.wait_state(job, "completed", timeout_s=60)
        equal([run["outcome"] for run in told["history"]], ["lost", "succeeded"], kind)  # type: ignore[union-attr, index]
        equal(box.ledger()[-3:], [f"start {job}", f"start {job}", f"end {job}"], "the ledger")
        box.ok("worker", "stop")
    sound(box)


@row("10", "a job that backgrounds a child and exits")
def background_child(box: Sandbox) -> None:
    length = _odd_length()
    job = box.enqueue("-q", f"sleep {length} & exit 0")
    box.ok("worker", "start")
    told = box.wait_state(job, "completed", timeout_s=15)
    equal(sleeping(length), [], "the child")
    equal(told["history"][0]["left_behind"], 1, "noted")  # type: ignore[index]
    converges(box)


@row("15", "exit codes, signals, missing and unusable commands")
def exit_codes(box: Sandbox) -> None:
    box.ok("config", "set", "max-retries", "0")
    plain = box.dir / "plain"
    plain.write_text("not a program")
    lines = "".join(json.dumps({"command": f"exit {code}"}) + "\n" for code in range(256))
    ids = box.ok("enqueue", "-q", "--file", "-", stdin=lines.encode()).lines
    wanted: dict[str, tuple[object, object]] = {job: (code, None) for code, job in enumerate(ids)}
    equal(len(wanted), 256, "jobs, one for each status")
    for number in (1, 2, 3, 6, 9, 11, 15):
        wanted[box_job(box, command=f"ulimit -c 0; kill -{number} $$")] = (None, number)
    wanted[box_job(box, command="no-such-command")] = (127, None)
    wanted[box_job(box, argv=["no-such-command"])] = (127, None)
    wanted[box_job(box, argv=[str(plain)])] = (126, None)
    wanted[box_job(box, command="true", cwd=str(box.dir / "gone"))] = (None, None)
    box.run("worker", "run", "--burst", "--count", "2", timeout_s=120)
    jobs = box.ok("list", "--json").json
    found = {job["id"]: (job["exit_code"], job["signal"]) for job in jobs}  # type: ignore[index, union-attr]
    wrong = {job: (found.get(job), wanted[job]) for job in wanted if found.get(job) != wanted[job]}
    equal(wrong, {}, "statuses")
    box.ok("config", "set", "shell", "/nonexistent/sh")
    broken = box_job(box, command="true")
    box.run("worker", "run", "--burst")
    equal(box.job(broken)["exit_code"], 127, "with an unusable shell")
    sound(box)


def box_job(box: Sandbox, **options: object) -> str:
    """Enqueue a job given as options."""
    return box.enqueue("-q", json.dumps(options))


@row("16", "gigabytes, one long line, binary output")
def outputs(box: Sandbox) -> None:
    box.ok("config", "set", "log-max-size", "2MiB")
    box.ok("worker", "start", "--count", "2")
    much = box.enqueue("-q", "yes 0123456789 | head -c 1500000000; echo; echo the end")
    line = box.enqueue("-q", "head -c 100000000 /dev/zero | tr '\\0' x; echo; echo the end")
    exact = box.enqueue("-q", "head -c 1500000 /dev/urandom | tee copy")
    for job in (much, line, exact):
        box.wait_state(job, "completed", timeout_s=180)
    equal(
        hashlib.sha256(box.log(exact)).digest(),
        hashlib.sha256((box.dir / "copy").read_bytes()).digest(),
        "a log below the cap",
    )
    for job, head in ((much, b"0123456789\n" * 10), (line, b"x" * 100)):
        log = box.log(job)
        check(log.startswith(head) and log.endswith(b"\nthe end\n"), f"head and tail of {job}")
        check(len(log) < 2.2 * (1 << 20), f"the log of {job} has {len(log)} bytes")
    for worker in box.workers():
        status = Path(f"/proc/{worker['pid']}/status").read_text()
        peak = int(status.split("VmHWM:")[1].split()[0])
        check(peak < 80_000, f"a worker's memory peaked at {peak} KiB")
    converges(box)


@row("30", "a job that calls queuectl itself, with one worker")
def nested(box: Sandbox) -> None:
    inner = " ".join(box.command())
    job = box.enqueue("-q", (
        f"{inner} list -q >> ledger && {inner} enqueue -q 'echo inner >> ledger' && "
        f"{inner} wait --timeout 1s; {inner} worker start; echo start=$? >> ledger; "
        f"{inner} worker stop; echo stop=$? >> ledger"
    ))  # fmt: skip
    box.ok("worker", "start")
    box.wait_state(job, "completed", timeout_s=60)
    check({job, "start=2", "stop=0"} <= set(box.ledger()), f"the ledger: {box.ledger()}")
    wait_for(lambda: not box.workers(), "the pool to stop, as the job said")
    box.ok("worker", "start")
    wait_for(lambda: "inner" in box.ledger(), "the job that the job enqueued")
    converges(box)
