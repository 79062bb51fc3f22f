"""Kill at every syscall: `python3 -m tests.crashpoints [--fast N] [--only PHASE]`.

Phases: an enqueue; what a worker does for one job (claim, start, finish); how a supervisor comes
up, works off a job and leaves; how a worker comes up. A traced run lists the system calls after
the queue's path first appears (what comes before is the interpreter); then the same is run once
for each, and SIGKILL arrives as that call is entered. Of the last two phases only the calls count
that name a file of the queue or concern processes: between two of them nothing changes outside.
strace counts in each process by itself, and so do we. A run may take another course than the
traced one and never get to its call: only kills that strace reports are counted.
"""

from __future__ import annotations

import argparse
import os
import re
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from tests.faults import supervisors
from tests.support import Sandbox, is_alive, wait_for

Point = tuple[str, int]  # the n-th call of this name
Tried = tuple[int, int]  # how many points there are, and how many kills strace reported
HIT = "killed by SIGKILL"
CALL = re.compile(r"(?:(\d+) +)?(\w+)\(")
PROCESSES = re.compile(
    r"(?:\d+ +)?(?:clone3?|v?fork|kill|tgkill|wait4|waitid|setsid|prctl|pidfd_\w+)\("
)


def enqueue(box: Sandbox, sample: int | None = None) -> Tried:
    """Kill enqueues. An id that was printed must be there, whole."""
    box.enqueue("-q", "true")
    points = _thinned(_trace(box, box.command("enqueue", "-q", "true")), sample)
    hits = 0
    for number, (call, nth) in enumerate(points):
        name = f"point-{number}"
        done = _killed(
            box, box.command("enqueue", "-q", "--id", name, "echo x >> ledger"), call, nth
        )
        hits += _was_hit(box)
        there = box.run("show", name)
        _check(there.code in (0, 3), f"{call} {nth}: {there.err}")
        if done.stdout.strip():
            _check(there.code == 0, f"{call} {nth}: the id was printed and the job is not there")
        again = box.run("enqueue", "-q", "--id", name, "echo x >> ledger")
        _check(again.code == (5 if there.code == 0 else 0), f"{call} {nth}: repeated: {again!r}")
    box.run("worker", "run", "--burst", "--count", "2", timeout_s=300)
    _check(len(box.ledger()) == len(points), f"{len(box.ledger())} of {len(points)} jobs ran once")
    return len(points), hits


def worker(box: Sandbox, sample: int | None = None) -> Tried:
    """Kill a worker at what it does for one job.

    Each job must complete, never twice at once, and one whose end was recorded never again.
    """
    box.ok("config", "set", "backoff-base", "0")
    box.ok("worker", "start")
    everything = _attached(box, None)
    points = _thinned(_points(everything), sample)
    hits = sum(
        HIT in _attached(box, point, name=f"job-{number}") for number, point in enumerate(points)
    )
    box.ok("worker", "stop", "--now")
    for number, point in enumerate(points):
        _explained(box, f"job-{number}", point)
    return len(points), hits


def supervisor(box: Sandbox, sample: int | None = None) -> Tried:
    """Kill a supervisor from its first look at the queue to its end."""
    box.ok("config", "set", "backoff-base", "0")
    box.enqueue("-q", "true")
    words = box.command("worker", "run", "--burst")
    points = _thinned(_trace(box, words, alone=True), sample)
    hits = 0
    for number, (call, nth) in enumerate(points):
        name = f"job-{number}"
        box.enqueue("-q", "--id", name, "--max-retries", "5", _JOB.format(name))
        _killed(box, words, call, nth, alone=True)
        hits += _was_hit(box)
        box.run("worker", "run", "--burst", timeout_s=120)
        _settled(box, name, (call, nth))
    return len(points), hits


def boot(box: Sandbox, sample: int | None = None) -> Tried:
    """Kill a worker (or the supervisor, where that gets to the call first) while it comes up."""
    box.ok("config", "set", "backoff-base", "0")
    points = _thinned(_points(_replaced(box, None), of=box, forked=True), sample)
    hits = 0
    for number, point in enumerate(points):
        name = f"job-{number}"
        hits += HIT in _replaced(box, point)
        box.enqueue("-q", "--id", name, "--max-retries", "5", _JOB.format(name))
        box.run("worker", "run", "--burst", timeout_s=120)
        _settled(box, name, point)
    return len(points), hits


def _replaced(box: Sandbox, point: Point | None) -> str:
    """Kill an idle worker and trace its supervisor and what it forks instead; give the trace.

    The supervisor's counts begin as it is attached to: it makes few calls that hide the worker's.
    """
    box.ok("worker", "start")
    (old,) = (int(str(each["pid"])) for each in box.workers())
    (parent,) = supervisors(box)
    out = box.dir / "trace"
    tracer = _attach(out, parent, point, "-f", "-y")
    os.kill(old, signal.SIGKILL)
    wait_for(
        lambda: (
            HIT in out.read_text(errors="replace").replace(f"{old} +++", "")
            or not is_alive(parent)
            or any(w["pid"] != old and w["state"] == "idle" for w in box.workers())
        ),
        f"the end of a boot at {point}",
    )
    _detach(tracer)
    box.ok("worker", "stop", "--now")
    return out.read_text(errors="replace")


def _settled(box: Sandbox, job: str, point: Point) -> None:
    """Check what a job came to once everybody who was alive has left."""
    wait_for(lambda: not box.pids(), f"nothing to be left after {point}")
    _check(box.state_of(job) == "completed", f"{point}: the job is {box.state_of(job)}")
    _explained(box, job, point)


PHASES: dict[str, Callable[[Sandbox, int | None], Tried]] = {
    "enqueue": enqueue,
    "worker": worker,
    "supervisor": supervisor,
    "boot": boot,
}

# Where the job says so itself: an overlap is a second run while the first one's lock is held.
_JOB = (
    'exec 9>"lock-{0}"; flock -n 9 || echo "overlap {0}" >> ledger; '
    'echo "start {0}" >> ledger; echo "end {0}" >> ledger'
)


def _attached(box: Sandbox, point: Point | None, name: str = "first") -> str:
    """Trace the idle worker while it runs one job, killing it at a point; give the trace."""
    (pid,) = wait_for(lambda: [w["pid"] for w in box.workers() if w["state"] == "idle"], "a worker")  # type: ignore[misc]
    out = box.dir / "trace"
    tracer = _attach(out, int(str(pid)), point)
    job = box.enqueue("-q", "--id", name, "--max-retries", "5", _JOB.format(name))
    told = box.wait_state(job, "completed", "dead", timeout_s=30)
    _check(told["state"] == "completed", f"{point}: {told['state']}: {told['error']}")
    wait_for(lambda: box.workers(), "a worker to be there again")
    _detach(tracer)
    return out.read_text(errors="replace")


def _attach(out: Path, pid: int, point: Point | None, *flags: str) -> subprocess.Popen[bytes]:
    inject = ["-e", f"inject={point[0]}:signal=SIGKILL:when={point[1]}"] if point else []
    calls = ["-e", f"trace={point[0]}"] if point else []
    out.write_text("")
    tracer = subprocess.Popen(
        ["strace", *flags, "-o", str(out), "-p", str(pid), *calls, *inject], stderr=subprocess.PIPE
    )
    assert tracer.stderr is not None
    _check(b"attached" in tracer.stderr.readline(), "strace did not attach")
    return tracer


def _detach(tracer: subprocess.Popen[bytes]) -> None:
    if tracer.poll() is None:
        tracer.send_signal(signal.SIGINT)
    tracer.wait()
    assert tracer.stderr is not None
    tracer.stderr.close()


def _explained(box: Sandbox, job: str, point: Point) -> None:
    ledger = Counter(box.ledger())
    history = box.job(job)["history"]
    lost = sum(run["outcome"] == "lost" for run in history)  # type: ignore[union-attr, index]
    _check(ledger[f"overlap {job}"] == 0, f"{point}: an overlap")
    _check(ledger[f"start {job}"] <= lost + 1, f"{point}: more starts than its history explains")
    _check(ledger[f"end {job}"] >= 1, f"{point}: completed without an end")
    _check(history[-1]["outcome"] == "succeeded", f"{point}: {history}")  # type: ignore[index]


def _trace(box: Sandbox, words: list[str], *, alone: bool = False) -> list[Point]:
    """Give the calls of a run; `alone`: only its first process, and only what shows outside."""
    out = box.dir / "trace"
    follow = ["-y"] if alone else ["-f"]
    done = subprocess.run(
        ["strace", *follow, "-o", str(out), *words], env=box.env, cwd=box.dir, capture_output=True
    )
    _check(done.returncode in (0, 4), f"the traced run failed: {done.stderr.decode()}")
    trace = out.read_text(errors="replace")
    return _points(trace, of=box) if alone else _points(trace, first=str(box.dir / "q"))


def _points(
    trace: str, first: str = "", of: Sandbox | None = None, *, forked: bool = False
) -> list[Point]:
    """List the calls of a trace, from the first one that names the path on.

    `of`: only those that show outside of the process; `forked`: not those of the first process.
    """
    shows = re.compile(re.escape(str(of.dir)) + r'/q[./">]') if of else re.compile("")
    seen: Counter[tuple[str | None, str]] = Counter()
    found: dict[Point, None] = {}
    begun, parent = not first, trace.split(" ", 1)[0] if forked else None
    for line in trace.splitlines():
        match = CALL.match(line)
        if not match:
            continue
        seen[match[1], match[2]] += 1
        begun = begun or first in line
        if not begun or match[2] in ("exit", "exit_group", "execve", "rt_sigreturn"):
            continue
        if (shows.search(line) or PROCESSES.match(line)) and (not forked or match[1] != parent):
            found[match[2], seen[match[1], match[2]]] = None
    return list(found)


def _killed(
    box: Sandbox, words: list[str], call: str, nth: int, *, alone: bool = False
) -> subprocess.CompletedProcess[bytes]:
    inject = f"inject={call}:signal=SIGKILL:when={nth}"
    follow = [] if alone else ["-f"]
    out = str(box.dir / "killed")
    traced = ["strace", *follow, "-o", out, "-e", f"trace={call}", "-e", inject, *words]
    return subprocess.run(traced, env=box.env, cwd=box.dir, capture_output=True, timeout=120)


def _was_hit(box: Sandbox) -> bool:
    return HIT in (box.dir / "killed").read_text(errors="replace")


def _thinned(points: list[Point], sample: int | None) -> list[Point]:
    """Take so many of the points, evenly spread; None: all."""
    if sample is None or sample >= len(points):
        return points
    return [points[number * len(points) // sample] for number in range(sample)]


def _check(truth: object, what: str) -> None:
    if not truth:
        raise AssertionError(what)


def main() -> int:
    """Run the phases and print how many points each had."""
    parser = argparse.ArgumentParser(allow_abbrev=False)
    parser.add_argument("--fast", type=int, metavar="N", help="only N points of each phase")
    parser.add_argument("--only", choices=list(PHASES))
    options = parser.parse_args()
    status = 0
    for name, phase in PHASES.items():
        if options.only in (None, name):
            box = Sandbox()
            try:
                points, hits = phase(box, options.fast)
                told = f"{points} points tried, {hits} of them confirmed by strace"
                print(f"{name}: {told}, no promise broken", flush=True)
            except AssertionError as error:
                status = 1
                print(f"{name}: FAILED: {error}", flush=True)
            finally:
                box.close()
    return status


if __name__ == "__main__":
    sys.exit(main())
