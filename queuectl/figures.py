"""What the jobs that have ended come to: counts, failure rate, percentiles of wait and run."""

from __future__ import annotations

from array import array
from dataclasses import dataclass, field
from math import ceil

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

# Queue, command, state, starts, wait of the last run (ms), its length (s), as storage gives them.
Ended = tuple[str, str, str, int, "int | None", "float | None"]


@dataclass(slots=True)
class Figures:
    """The figures of a group of jobs while they are added up. Waits in ms, lengths in seconds."""

    completed: int = 0
    dead: int = 0
    cancelled: int = 0
    runs: int = 0
    waits: array[int] = field(default_factory=lambda: array("q"))
    lengths: array[float] = field(default_factory=lambda: array("d"))

    def add(self, state: str, runs: int, wait_ms: int | None, duration_s: float | None) -> None:
        """Count one job in; one that was cancelled says nothing about waits and lengths."""
        self.runs += runs
        if state == "cancelled":
            self.cancelled += 1
            return
        if state == "completed":
            self.completed += 1
        else:
            self.dead += 1
        if wait_ms is not None:
            self.waits.append(wait_ms)
        if duration_s is not None:
            self.lengths.append(duration_s)

    def add_all(self, other: Figures) -> None:
        """Count the jobs of another group in."""
        self.completed += other.completed
        self.dead += other.dead
        self.cancelled += other.cancelled
        self.runs += other.runs
        self.waits.extend(other.waits)
        self.lengths.extend(other.lengths)

    def as_json(self) -> dict[str, object]:
        """Give the figures; null where nothing has ended that they could be taken from."""
        ended = self.completed + self.dead
        waits, lengths = sorted(self.waits), sorted(self.lengths)
        return {
            "jobs": ended + self.cancelled,
            "completed": self.completed,
            "dead": self.dead,
            "cancelled": self.cancelled,
            "runs": self.runs,
            "failure_rate": self.dead / ended if ended else None,
            "wait_p50_s": _seconds(percentile(waits, 50)),
            "wait_p95_s": _seconds(percentile(waits, 95)),
            "run_p50_s": percentile(lengths, 50),
            "run_p95_s": percentile(lengths, 95),
        }


@dataclass(frozen=True)
class Stats:
    """All figures: together, by queue and by command; most jobs first."""

    total: Figures
    queues: dict[str, Figures]
    commands: dict[str, Figures]


def add_up(jobs: Iterable[Ended]) -> Stats:
    """Add up the figures of jobs that have ended: a million, so little is done for each."""
    total = Figures()
    queues: dict[str, Figures] = {}
    commands: dict[str, Figures] = {}
    for queue, command, state, runs, wait_ms, duration_s in jobs:
        mine = queues.get(queue) or queues.setdefault(queue, Figures())
        mine.add(state, runs, wait_ms, duration_s)
        alike = commands.get(command) or commands.setdefault(command, Figures())
        alike.add(state, runs, wait_ms, duration_s)
    for figures in queues.values():
        total.add_all(figures)
    return Stats(total, _most_first(queues), _most_first(commands))


def percentile(values: Sequence[float], percent: int) -> float | None:
    """Give the least of these sorted values that so many percent do not exceed (nearest rank)."""
    return values[max(0, ceil(len(values) * percent / 100) - 1)] if values else None


def _seconds(wait_ms: float | None) -> float | None:
    return None if wait_ms is None else max(0, wait_ms) / 1000  # the clock may have been set back


def _most_first(groups: dict[str, Figures]) -> dict[str, Figures]:
    def size(group: tuple[str, Figures]) -> tuple[int, str]:
        figures = group[1]
        return -(figures.completed + figures.dead + figures.cancelled), group[0]

    return dict(sorted(groups.items(), key=size))
