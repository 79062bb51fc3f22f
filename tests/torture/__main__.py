"""`python3 -m tests.torture --seconds N --seed S [--json]`: torture, drain, check, report.

Exit status 0: nothing was lost, run twice at once, stuck or left behind; 1: something was.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
import time
from collections.abc import Sequence

from tests.torture import plan, report, verdict
from tests.torture.field import Field
from tests.torture.nemesis import Nemesis


def main() -> int:
    """Run the torture once for each seed and say how it went."""
    options = _options()
    bad = 0
    reports = []
    for seed in options.seed:
        found = _torture(seed, options)
        reports.append(found)
        bad += bool(found["findings"])
        if not options.json:
            print(report.text(found), flush=True)
    if options.json:
        print(json.dumps(reports if len(reports) > 1 else reports[0], indent=1))
    elif len(reports) > 1:
        print(report.text(report.total(reports)))
    return 1 if bad else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python3 -m tests.torture", description=__doc__)
    parser.add_argument(
        "--seconds", type=float, default=60, help="how long each seed's faults last"
    )
    parser.add_argument("--seed", type=int, action="append", help="may be repeated (1)")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--only", help="comma list of verbs, see plan.RATES")
    parser.add_argument("--kinds", help="comma list of kinds of job, see jobs.KINDS")
    parser.add_argument("--rate", action="append", default=[], metavar="VERB=N", help="a second")
    parser.add_argument("--workers", type=int, default=4, help="in each pool")
    parser.add_argument("--patience", type=float, default=90, help="seconds without progress")
    parser.add_argument("--plan", action="store_true", help="print the plan and do nothing")
    options = parser.parse_args()
    options.seed = options.seed or [1]
    return options


def _torture(seed: int, options: argparse.Namespace) -> dict[str, object]:
    events = plan.draw(
        seed,
        options.seconds,
        only=_list(options.only),
        kinds=_list(options.kinds),
        more={verb: float(rate) for verb, _, rate in (x.partition("=") for x in options.rate)},
    )
    if options.plan:
        for event in events:
            print(f"{event.at:8.3f} {event.verb} {event.kind} {event.dice[0]:.3f}")
    ground = Field()
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: sys.exit(130))
    try:
        return _run(ground, seed, events, options)
    finally:
        ground.close()


def _run(
    ground: Field, seed: int, events: list[plan.Event], options: argparse.Namespace
) -> dict[str, object]:
    for key, value in SETTINGS.items():
        ground.run("config", "set", key, value)
    began = time.monotonic()
    nemesis = Nemesis(ground, options.workers)
    nemesis.start_pool()
    nemesis.carry_out(events)
    faults_s = time.monotonic() - began
    nemesis.finish()
    began = time.monotonic()
    stuck = _drain(ground, seed, options)
    drain_s = time.monotonic() - began
    ending, _ = ground.run("worker", "stop", timeout_s=options.patience)
    left = verdict.Verdict()
    verdict.check_quiet(left, ground)
    ground.end_all()
    found = verdict.judge(ground, nemesis.notes)
    for what, texts in left.findings.items():
        for text in texts:
            found.found(what, text)
    if stuck:
        found.found("stuck", stuck)
    if ending:
        found.found("stuck", f"worker stop: {ending}")
    lengths = {"faults_s": faults_s, "drain_s": drain_s, "seconds": options.seconds}
    return report.build(seed, plan.digest(events), lengths, ground, nemesis.notes, found)


# Short waits, so that the drain ends soon; the rest is as a user has it.
SETTINGS = {"backoff-base": "0.5", "backoff-max": "1", "kill-grace": "500ms"}


def _drain(ground: Field, seed: int, options: argparse.Namespace) -> str:
    """End the pools that are left, start one cleanly, and wait until everything is finished."""
    if seed % 2:
        ground.run("worker", "stop", "--now")
    else:
        for process in ground.processes():
            if process.role in ("supervisor", "worker"):
                ground.signal(process, signal.SIGKILL)
    ground.reap()
    ground.run("queue", "resume")
    ground.run("queue", "set", "default", "--concurrency", "none")
    start = ("worker", "start", "--count", str(options.workers))
    status, _ = ground.run(*start)
    if status:
        return f"worker start: {status}"
    return _wait_drained(ground, options.patience, start)


def _wait_drained(ground: Field, patience_s: float, start: Sequence[str]) -> str:
    """Wait until every job has ended. One kind of job stops all workers: then they start anew."""
    before, since = -1, time.monotonic()
    while time.monotonic() - since < patience_s:
        ground.reap()
        status, text = ground.run("status", "--json")
        if status == 0:
            found = json.loads(text)
            if not found["workers"]:
                ground.run(*start)
            jobs = found["jobs"]
            open_jobs = sum(jobs[state] for state in ("pending", "processing", "failed"))
            if open_jobs == 0:
                return ""
            if open_jobs != before:
                before, since = open_jobs, time.monotonic()
        _release_held(ground)
        time.sleep(0.3)
    return f"{before} jobs are unfinished {patience_s:.0f} s after the last progress"


def _release_held(ground: Field) -> None:
    _, text = ground.run("list", "--state", "pending", "--json")
    _, more = ground.run("list", "--state", "failed", "--json")
    waiting = [job["id"] for job in json.loads(text or "[]") + json.loads(more or "[]")]
    for start in range(0, len(waiting), 200):
        ground.run("release", "-q", *waiting[start : start + 200])


def _list(text: str | None) -> list[str]:
    return text.split(",") if text else []


if __name__ == "__main__":
    sys.exit(main())
