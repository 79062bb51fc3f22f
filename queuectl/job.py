"""What jobs, runs, schedules and workers look like to the program: frozen records from storage.

The names of a record's fields are the names of its columns; storage reads exactly these.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True)
class Job:
    """One job. Instants in ms since 1970, lengths in seconds, `cwd` as the system has it."""

    seq: int
    id: str
    command: str
    argv: str | None
    queue: str
    priority: int
    label: str | None
    state: str
    ready: int
    held: int
    waits: int
    attempts: int
    run: int
    max_retries: int
    backoff_base: float
    backoff_max_s: float
    timeout_s: float | None
    no_retry_on: str | None
    slots: int
    slots_held: str | None
    unique_key: str | None
    after: str | None
    expires_at: int | None
    cwd: bytes
    umask: int
    env: int | None
    schedule: str | None
    created_at: int
    updated_at: int
    run_at: int
    started_at: int | None
    finished_at: int | None
    duration_s: float | None
    exit_code: int | None
    signal: int | None
    error: str | None
    worker: int | None
    cancel_asked_at: int | None
    stuck: str | None

    @classmethod
    def of(cls, row: Sequence[object]) -> Job:
        """Make a job of a row; a frozen record that sets its fields one by one takes four times
        as long, which a long list feels."""
        job = object.__new__(cls)
        job.__dict__.update(zip(cls.__dataclass_fields__, row, strict=True))
        return job

    @cached_property
    def final_exit_codes(self) -> frozenset[int]:
        """The exit codes after which it is not retried."""
        return frozenset(int(code) for code in (self.no_retry_on or "").split(",") if code)


@dataclass(frozen=True)
class Run:
    """One start of a job."""

    job: int
    run: int
    attempt: int
    worker: int
    started_at: int
    finished_at: int | None
    duration_s: float | None
    outcome: str | None
    exit_code: int | None
    signal: int | None
    error: str | None
    cpu_s: float | None
    max_rss_bytes: int | None
    log_start: int | None
    log_end: int | None
    left_behind: int | None


@dataclass(frozen=True)
class Schedule:
    """A recurring job. `template` is the JSON of the row that each tick inserts."""

    name: str
    cron: str | None
    every_s: float | None
    tz: str
    overlap: str
    catchup: str
    paused: int
    template: str
    cwd: bytes
    umask: int
    env: int | None
    created_at: int
    last_at: int | None
    next_at: int | None


@dataclass(frozen=True)
class PoolRecord:
    """A supervisor, as it registered itself."""

    id: int
    pid: int
    birth: str
    lock: str
    lock_dev: int
    lock_ino: int
    background: int
    queues: str | None
    started_at: int
    stop: int
    stop_by: int | None


@dataclass(frozen=True)
class WorkerRecord:
    """A worker, as it registered itself. `stop`: 0 work, 1 drain, 2 end the job, 3 kill it."""

    id: int
    pool: int
    pid: int
    birth: str
    lock: str
    lock_dev: int
    lock_ino: int
    exec_dev: int
    exec_ino: int
    queues: str | None
    started_at: int
    stop: int
    stop_by: int | None
