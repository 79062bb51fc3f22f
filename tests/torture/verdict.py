"""The verdict: what the jobs wrote against what queuectl says, once the dust has settled.

Only here the database is read directly, after the last process is gone.
"""

from __future__ import annotations

import os
import re
import sqlite3
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tests.torture.field import Field
from tests.torture.nemesis import Notes, Shot

# After these a job may be started again; after any other outcome that is unexplained.
AGAIN = ("failed", "timed_out", "lost", "interrupted")
PROMISED_S = 2.0
RESTART_PROMISED_S = 5.0
ENDED = ("completed", "dead", "cancelled")


@dataclass(frozen=True)
class Line:
    """A line of the ledger. `up`: seconds since boot."""

    word: str
    job: str
    run: int
    pid: int
    parent: int
    up: float
    more: str


@dataclass(frozen=True)
class Run:
    """A row of the table of runs."""

    attempt: int
    outcome: str | None
    finished_at: int | None
    started_at: int


@dataclass
class Job:
    """A row of the table of jobs with its runs."""

    state: str
    attempts: int
    max_retries: int
    run: int
    runs: dict[int, Run] = field(default_factory=dict)


@dataclass
class Verdict:
    """What was found; each list has to be empty."""

    acknowledged: int = 0
    starts: int = 0
    states: dict[str, int] = field(default_factory=dict)
    outcomes: dict[str, int] = field(default_factory=dict)
    findings: dict[str, list[str]] = field(default_factory=dict)
    recovery_s: list[float] = field(default_factory=list)
    recovery_disturbed_s: list[float] = field(default_factory=list)
    restart_s: list[float] = field(default_factory=list)
    restart_disturbed_s: list[float] = field(default_factory=list)
    slow: list[str] = field(default_factory=list)
    complaints: dict[str, int] = field(default_factory=dict)

    def found(self, what: str, text: str) -> None:
        self.findings.setdefault(what, []).append(text)


KINDS_OF_FINDING = (
    "lost",
    "overlaps",
    "stuck",
    "unexplained re-runs",
    "unrecorded runs",
    "false completions",
    "false deaths",
    "false cancellations",
    "orphans",
    "locks left",
    "integrity",
    "modes",
    "tracebacks",
    "usage errors",
)


def judge(ground: Field, notes: Notes) -> Verdict:
    """Compare, and give everything that is wrong."""
    verdict = Verdict()
    known = _jobs(ground.db, verdict)
    lines = list(_ledger(ground.dir / "ledger"))
    acknowledged = set((ground.dir / "acks").read_text().split()) | notes.proved
    verdict.acknowledged = len(acknowledged)
    verdict.starts = sum(line.word == "start" for line in lines)
    _check_acknowledged(verdict, acknowledged, known, notes)
    _check_ends(verdict, lines, known, notes)
    _check_starts(verdict, lines, known, notes)
    _check_overlaps(verdict, lines, ground)
    _check_traces(verdict, ground)
    _check_modes(verdict, ground)
    _check_exits(verdict, ground)
    _measure_recovery(verdict, lines, known, notes)
    _count_complaints(verdict, ground)
    return verdict


def _jobs(db: Path, verdict: Verdict) -> dict[str, Job]:
    connection = sqlite3.connect(db, timeout=10)
    try:
        for (text,) in connection.execute("PRAGMA integrity_check"):
            if text != "ok":
                verdict.found("integrity", text)
        names: dict[int, Job] = {}
        known: dict[str, Job] = {}
        asked = "SELECT seq, id, state, attempts, max_retries, run FROM job"
        for seq, job_id, *rest in connection.execute(asked):
            known[job_id] = names[seq] = Job(*rest)
            verdict.states[rest[0]] = verdict.states.get(rest[0], 0) + 1
        asked = "SELECT job, run, attempt, outcome, finished_at, started_at FROM run"
        for seq, run, *rest in connection.execute(asked):
            names[seq].runs[run] = Run(*rest)
            outcome = str(rest[1])
            verdict.outcomes[outcome] = verdict.outcomes.get(outcome, 0) + 1
        return known
    except sqlite3.Error as error:
        verdict.found("integrity", str(error))
        return {}
    finally:
        connection.close()


def _ledger(path: Path) -> Iterator[Line]:
    with open(path, encoding="ascii", errors="replace") as file:
        for text in file:
            word, job, run, pid, parent, up, *more = text.split()
            yield Line(word, job, int(run), int(pid), int(parent), float(up), " ".join(more))


def _check_acknowledged(
    verdict: Verdict, acknowledged: set[str], known: dict[str, Job], notes: Notes
) -> None:
    deleted = notes.may.get("deleted", set())
    for job_id in sorted(acknowledged - known.keys() - deleted):
        verdict.found("lost", job_id)
    for job_id, job in known.items():
        if job.state not in ENDED:
            verdict.found("stuck", f"{job_id} is {job.state}")


def _check_ends(verdict: Verdict, lines: list[Line], known: dict[str, Job], notes: Notes) -> None:
    well = {(line.job, line.run) for line in lines if line.word == "end" and line.more == "0"}
    cancelled = notes.may.get("cancelled", set())
    for job_id, job in known.items():
        if job.state == "completed" and (job_id, job.run) not in well:
            verdict.found("false completions", f"{job_id} run {job.run} never ended with status 0")
        if job.state == "completed" and job_id in notes.stay_cancelled:
            verdict.found("false completions", f"{job_id} had been given up")
        if job.state == "dead" and job.attempts <= job.max_retries:
            verdict.found(
                "false deaths", f"{job_id} after {job.attempts} of {job.max_retries + 1} attempts"
            )
        if job.state == "cancelled" and job_id not in cancelled:
            verdict.found("false cancellations", job_id)


def _check_starts(verdict: Verdict, lines: list[Line], known: dict[str, Job], notes: Notes) -> None:
    deleted = notes.may.get("deleted", set())
    seen: set[tuple[str, int]] = set()
    for line in lines:
        if line.word != "start":
            continue
        key = (line.job, line.run)
        job = known.get(line.job)
        if key in seen:
            verdict.found("unexplained re-runs", f"{line.job} run {line.run} started twice")
        seen.add(key)
        if job is None:
            if line.job not in deleted:
                verdict.found("unexplained re-runs", f"{line.job} is unknown")
        elif line.run not in job.runs:
            verdict.found("unexplained re-runs", f"{line.job} run {line.run} is not recorded")
    for job_id, job in known.items():
        for number, run in job.runs.items():
            _check_run(verdict, job_id, job, number, run, notes)


def _check_run(
    verdict: Verdict, job_id: str, job: Job, number: int, run: Run, notes: Notes
) -> None:
    before = job.runs.get(number - 1)
    if number > 1 and (before is None or before.outcome not in AGAIN):
        what = before.outcome if before else "nothing"
        verdict.found("unexplained re-runs", f"{job_id} run {number} after {what}")
    if run.outcome is None and job.state in ENDED:
        verdict.found("unrecorded runs", f"{job_id} run {number}")
    if number == job.run and job.state == "completed" and run.outcome != "succeeded":
        verdict.found("false completions", f"{job_id} is completed by a run that {run.outcome}")


def _check_overlaps(verdict: Verdict, lines: list[Line], ground: Field) -> None:
    told = (ground.dir / "overlaps").read_text(errors="replace").splitlines()
    for line in lines:
        if line.word == "OVERLAP":
            met = [text for text in told if text.startswith(f"{line.job} {line.run} ")]
            verdict.found("overlaps", f"{line.job} run {line.run} at {line.up}: {met}")


def _check_traces(verdict: Verdict, ground: Field) -> None:
    logs = sorted((ground.state / "logs").glob("*"))
    ours = [ground.dir / "stderr", *sorted(ground.state.glob("worker.log*"))]
    for path in [*ours, *logs]:
        text = path.read_text(errors="replace")
        for mark in ("Traceback (most", "internal error", "Fatal Python", "database is locked"):
            if mark in text:
                at = text.index(mark)
                excerpt = text[max(0, at - 200) : at + 1500]
                verdict.found("tracebacks", f"{path.name}: {excerpt}")


def _check_modes(verdict: Verdict, ground: Field) -> None:
    for path in [ground.db, *ground.disk.glob("q.db-*")]:
        _check_mode(verdict, path, 0o600)
    _check_mode(verdict, ground.state, 0o700)
    for path in ground.state.rglob("*"):
        _check_mode(verdict, path, 0o700 if path.is_dir() else 0o600)


def _check_mode(verdict: Verdict, path: Path, wanted: int) -> None:
    mode = stat.S_IMODE(path.lstat().st_mode)
    if mode != wanted:
        verdict.found("modes", f"{path.name} has {mode:04o}, not {wanted:04o}")


def _check_exits(verdict: Verdict, ground: Field) -> None:
    """No usage error is ours to make, and 70 is a client that fell over before the boundary."""
    for key, count in ground.exits.items():
        if key.rpartition(" ")[2] in ("2", "70"):
            verdict.found("usage errors", f"{key}: {count}")


def check_quiet(verdict: Verdict, ground: Field) -> None:
    """Look for processes and locks that are left after the last stop."""
    for process in ground.processes():
        with open(f"/proc/{process.pid}/cmdline", "rb") as file:
            words = file.read().replace(b"\0", b" ").decode(errors="replace")
        verdict.found("orphans", f"{process.pid} {process.role} {process.state}: {words}")
    files = [ground.state, *ground.state.rglob("*"), *(ground.dir / "locks").iterdir()]
    ours = {(found.st_dev, found.st_ino): path for path in files if (found := path.lstat())}
    with open("/proc/locks", encoding="ascii") as table:
        for row in table:
            major, minor, inode = next(word for word in row.split() if word.count(":") == 2).split(
                ":"
            )
            key = (os.makedev(int(major, 16), int(minor, 16)), int(inode))
            if key in ours:
                verdict.found("locks left", f"{ours[key]}: {row.strip()}")


def _measure_recovery(
    verdict: Verdict, lines: list[Line], known: dict[str, Job], notes: Notes
) -> None:
    """Measure from a worker's death to the record of its loss.

    With its supervisor alive: since the kill. Without one: since the next start of a pool.
    """
    by_worker: dict[int, list[Line]] = {}
    for line in lines:
        if line.word == "start":
            by_worker.setdefault(line.parent, []).append(line)
    for shot in notes.shots:
        if shot.role != "worker" or shot.number != 9:
            continue
        lost = _lost_with(shot.wall, by_worker.get(shot.pid, []), known)
        if lost is None:
            continue
        # Its supervisor is dead (then we are its parent), dies, or is stopped.
        orphaned = shot.parent == os.getpid() or any(
            other.pid == shot.parent and shot.wall - 5000 < other.wall <= lost
            for other in notes.shots
        )
        begun = next((at for at in notes.starts if shot.wall <= at <= lost), None)
        if not orphaned:
            disturbed = _is_disturbed(notes, shot.wall, lost)
            kept = verdict.recovery_disturbed_s if disturbed else verdict.recovery_s
            _keep(verdict, kept, shot, shot.wall, lost, None if disturbed else PROMISED_S)
        elif begun is not None:
            # Whoever was to recover it may have been shot, too: the start, or its pool.
            disturbed = _is_disturbed(notes, begun, lost) or any(
                begun < other.wall <= lost and other.role in ("client", "supervisor", "worker")
                for other in notes.shots
            )
            kept = verdict.restart_disturbed_s if disturbed else verdict.restart_s
            _keep(verdict, kept, shot, begun, lost, None if disturbed else RESTART_PROMISED_S)


def _is_disturbed(notes: Notes, begun: int, ended: int) -> bool:
    """Say whether the disk was full or a process stopped meanwhile."""
    return any(low < ended and high > begun for low, high in notes.disturbed)


def _keep(
    verdict: Verdict, kept: list[float], shot: Shot, begun: int, lost: int, promised: float | None
) -> None:
    latency = (lost - begun) / 1000
    kept.append(latency)
    if promised is not None and latency > promised:
        verdict.slow.append(f"{latency:.2f} s, worker {shot.pid} of {shot.parent}")


def _count_complaints(verdict: Verdict, ground: Field) -> None:
    """Count what clients and workers complained about, numbers left out."""
    logs = [ground.dir / "stderr", *sorted(ground.state.glob("worker.log*"))]
    for path in logs:
        for text in path.read_text(errors="replace").splitlines():
            told = re.sub(r"^\S+Z \[\d+\] ", "", text).replace(str(ground.dir), "…")
            told = re.sub(r"\bt?\d+(\.\d+)?\b", "N", told)
            verdict.complaints[told] = verdict.complaints.get(told, 0) + 1


def _lost_with(wall: int, lines: list[Line], known: dict[str, Job]) -> int | None:
    """Give when the run was recorded as lost that a worker had when it was killed."""
    for line in reversed(lines):
        job = known.get(line.job)
        run = job.runs.get(line.run) if job else None
        if run and run.started_at <= wall and run.outcome == "lost" and run.finished_at:
            return run.finished_at if run.finished_at >= wall else None
    return None
