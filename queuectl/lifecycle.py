"""The life of a job, as pure functions: what may become what, and when it runs again.

Nothing here knows a database, a process or a clock. `storage` guards every change with the
states of TRANSITIONS; `worker` turns what happened into an Outcome and asks `decide` what follows.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

TYPE_CHECKING = False
if TYPE_CHECKING:
    from queuectl.job import Job


class State(StrEnum):
    """Where a job is in its life."""

    PENDING = "pending"
    PROCESSING = "processing"
    COMPLETED = "completed"
    FAILED = "failed"
    DEAD = "dead"
    CANCELLED = "cancelled"


WAITING = (State.PENDING, State.FAILED)
ENDED = (State.COMPLETED, State.DEAD, State.CANCELLED)


class Kind(StrEnum):
    """How one run ended."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    TIMED_OUT = "timed_out"
    CANCELLED = "cancelled"
    INTERRUPTED = "interrupted"
    LOST = "lost"


# verb -> from -> to. A verb from a state that it does not list is refused and changes nothing.
TRANSITIONS: dict[str, dict[State, frozenset[State]]] = {
    "claim": dict.fromkeys(WAITING, frozenset({State.PROCESSING})),
    "finish": {
        State.PROCESSING: frozenset(
            {State.COMPLETED, State.FAILED, State.DEAD, State.CANCELLED, State.PENDING}
        )
    },
    "cancel": dict.fromkeys(WAITING, frozenset({State.CANCELLED})),
    "retry": {State.DEAD: frozenset({State.PENDING})},
}


@dataclass(frozen=True)
class Outcome:
    """What one run came to. Lengths in seconds, log positions in bytes."""

    kind: Kind
    exit_code: int | None = None
    signal: int | None = None
    error: str | None = None
    duration_s: float | None = None
    cpu_s: float | None = None
    max_rss_bytes: int | None = None
    log_start: int | None = None
    log_end: int | None = None
    left_behind: int | None = None
    pause_s: float = 0.0  # an interrupted job is not to be started earlier than this


@dataclass(frozen=True)
class Verdict:
    """What becomes of the job: its state, its attempts, and when it may run again (ms)."""

    state: State
    attempts: int
    run_at: int


def decide(job: Job, outcome: Outcome, now: int, jitter: float = 0.0) -> Verdict:
    """Say what a job becomes after a run. `now` in ms; jitter 0..1 lengthens the backoff.

    A start that we took back ourselves is given back; everything else has used an attempt.
    """
    if outcome.kind is Kind.SUCCEEDED:
        return Verdict(State.COMPLETED, job.attempts, job.run_at)
    if outcome.kind is Kind.CANCELLED:
        return Verdict(State.CANCELLED, job.attempts, job.run_at)
    if outcome.kind is Kind.INTERRUPTED:
        run_at = now + round(outcome.pause_s * 1000) if outcome.pause_s else job.run_at
        return Verdict(State.PENDING, job.attempts - 1, run_at)
    # The status of a job that we signalled says how it took the signal, not how it failed.
    final = outcome.kind is Kind.FAILED and outcome.exit_code in job.final_exit_codes
    if final or job.attempts > job.max_retries:
        return Verdict(State.DEAD, job.attempts, job.run_at)
    wait_s = backoff(job.attempts, job.backoff_base, job.backoff_max_s, jitter)
    return Verdict(State.FAILED, job.attempts, now + round(wait_s * 1000))


def backoff(attempt: int, base: float, limit_s: float, jitter: float = 0.0) -> float:
    """Give the seconds to wait after failed attempt n: base ^ n, never more than the limit."""
    try:
        wait_s = float(base) ** attempt
    except OverflowError:
        return limit_s
    return min(wait_s * (1.0 + jitter), limit_s)
