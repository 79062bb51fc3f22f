"""Kill at every syscall: `python3 -m tests.crashpoints [--fast N] [--only PHASE]`.

Phases: an enqueue; what a worker does for one job (claim, start, finish); the start of a pool. A
traced run lists the system calls after the queue's path first appears (what comes before is the
interpreter); then the same is run once for each, and SIGKILL arrives as that call is entered.
"""

from __future__ import annotations

import argparse
import re
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable

from tests.support import Sandbox, wait_for

Point = tuple[str, int]  # the n-th call of this name


def enqueue(box: Sandbox, sample: int | None = None) -> int:
    """Kill enqueues; give the number of points. An id that was printed must be there, whole."""
    box.enqueue("-q", "true")
    points = _thinned(_trace(box, box.command("enqueue", "-q", "true")), sample)
    for number, (call, nth) in enumerate(points):
        name = f"point-{number}"
        done = _killed(
            box, box.command("enqueue", "-q", "--id", name, "echo x >> ledger"), call, nth
        )
        there = box.run("show", name)
        _check(there.code in (0, 3), f"{call} {nth}: {there.err}")
        if done.stdout.strip():
            _check(there.code == 0, f"{call} {nth}: the id was printed and the job is not there")
        again = box.run("enqueue", "-q", "--id", name, "echo x >> ledger")
        _check(again.code == (5 if there.code == 0 else 0), f"{call} {nth}: repeated: {again!r}")
    box.run("worker", "run", "--burst", "--count", "2", timeout_s=300)
    _check(len(box.ledger()) == len(points), f"{len(box.ledger())} of {len(points)} jobs ran once")
    return len(points)


def worker(box: Sandbox, sample: int | None = None) -> int:
    """Kill a worker at what it does for one job; give the number of points.

    Each job must complete, never twice at once, and one whose end was recorded never again.
    """
    box.ok("config", "set", "backoff-base", "0")
    box.ok("worker", "start")
    everything = _attached(box, None)
    points = _thinned(_points(everything), sample)
    for number, point in enumerate(points):
        _attached(box, point, name=f"job-{number}")
    box.ok("worker", "stop", "--now")
    for number, point in enumerate(points):
        _explained(box, f"job-{number}", point)
    return len(points)


def start(box: Sandbox, sample: int | None = None) -> int:
    """Kill supervisor or worker at what they do to come up; give the number of points."""
    words = box.command("worker", "run", "--burst")
    points = _thinned(_trace(box, words), sample)
    for call, nth in points:
        job = box.enqueue("-q", "echo $QUEUECTL_JOB_ID >> ledger")
        _killed(box, words, call, nth)
        box.ok("config", "set", "backoff-base", "0")
        box.run("worker", "run", "--burst", timeout_s=120)
        state = box.state_of(job)
        _check(state == "completed", f"{call} {nth}: the job is {state}")
        wait_for(lambda: not box.pids(), f"nothing to be left after {call} {nth}")
    return len(points)


PHASES: dict[str, Callable[[Sandbox, int | None], int]] = {
    "enqueue": enqueue,
    "worker": worker,
    "start": start,
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
    out.write_text("")
    inject = ["-e", f"inject={point[0]}:signal=SIGKILL:when={point[1]}"] if point else []
    calls = ["-e", f"trace={point[0]}"] if point else []
    tracer = subprocess.Popen(
        ["strace", "-o", str(out), "-p", str(pid), *calls, *inject], stderr=subprocess.PIPE
    )
    assert tracer.stderr is not None
    _check(b"attached" in tracer.stderr.readline(), "strace did not attach")
    job = box.enqueue("-q", "--id", name, "--max-retries", "5", _JOB.format(name))
    told = box.wait_state(job, "completed", "dead", timeout_s=30)
    _check(told["state"] == "completed", f"{point}: {told['state']}: {told['error']}")
    wait_for(lambda: box.workers(), "a worker to be there again")
    if tracer.poll() is None:
        tracer.send_signal(signal.SIGINT)
    tracer.wait()
    tracer.stderr.close()
    return out.read_text(errors="replace")


def _explained(box: Sandbox, job: str, point: Point) -> None:
    ledger = Counter(box.ledger())
    history = box.job(job)["history"]
    lost = sum(run["outcome"] == "lost" for run in history)  # type: ignore[union-attr, index]
    _check(ledger[f"overlap {job}"] == 0, f"{point}: an overlap")
    _check(ledger[f"start {job}"] <= lost + 1, f"{point}: more starts than its history explains")
    _check(ledger[f"end {job}"] >= 1, f"{point}: completed without an end")
    _check(history[-1]["outcome"] == "succeeded", f"{point}: {history}")  # type: ignore[index]


def _trace(box: Sandbox, words: list[str]) -> list[Point]:
    out = box.dir / "trace"
    done = subprocess.run(
        ["strace", "-f", "-o", str(out), *words], env=box.env, cwd=box.dir, capture_output=True
    )
    _check(done.returncode in (0, 4), f"the traced run failed: {done.stderr.decode()}")
    return _points(out.read_text(errors="replace"), first=str(box.dir / "q"))


def _points(trace: str, first: str = "") -> list[Point]:
    """List the calls of a trace, from the first one that names the path on."""
    seen: Counter[str] = Counter()
    found: list[Point] = []
    begun = not first
    for line in trace.splitlines():
        match = re.match(r"(?:\d+ +)?(\w+)\(", line)
        if not match:
            continue
        seen[match[1]] += 1
        begun = begun or first in line
        if begun and match[1] not in ("exit", "exit_group", "execve", "rt_sigreturn"):
            found.append((match[1], seen[match[1]]))
    return found


def _killed(
    box: Sandbox, words: list[str], call: str, nth: int
) -> subprocess.CompletedProcess[bytes]:
    inject = f"inject={call}:signal=SIGKILL:when={nth}"
    traced = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", f"trace={call}", "-e", inject, *words]
    return subprocess.run(traced, env=box.env, cwd=box.dir, capture_output=True, timeout=120)


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
                print(f"{name}: {phase(box, options.fast)} points, no promise broken", flush=True)
            except AssertionError as error:
                status = 1
                print(f"{name}: FAILED: {error}", flush=True)
            finally:
                box.close()
    return status


if __name__ == "__main__":
    sys.exit(main())
