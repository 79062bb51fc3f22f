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


@dataclass
class Figures:
    """The figures of a group of jobs while they are added up. Lengths in seconds."""

    completed: int = 0
    dead: int = 0
    cancelled: int = 0
    runs: int = 0
    waits: array[float] = field(default_factory=lambda: array("d"))
    lengths: array[float] = field(default_factory=lambda: array("d"))

    def add(self, ended: Ended) -> None:
        """Count one job in; one that was cancelled says nothing about waits and lengths."""
        _, _, state, runs, wait_ms, duration_s = ended
        setattr(self, state, getattr(self, state) + 1)
        self.runs += runs
        if state != "cancelled":
            if wait_ms is not None:
                self.waits.append(max(0, wait_ms) / 1000)
            if duration_s is not None:
                self.lengths.append(duration_s)

    def as_json(self) -> dict[str, object]:
        """Give the figures; null where nothing has ended that they could be taken from."""
        ended = self.completed + self.dead
        return {
            "jobs": ended + self.cancelled,
            "completed": self.completed,
            "dead": self.dead,
            "cancelled": self.cancelled,
            "runs": self.runs,
            "failure_rate": self.dead / ended if ended else None,
            "wait_p50_s": percentile(self.waits, 50),
            "wait_p95_s": percentile(self.waits, 95),
            "run_p50_s": percentile(self.lengths, 50),
            "run_p95_s": percentile(self.lengths, 95),
        }


@dataclass(frozen=True)
class Stats:
    """All figures: together, by queue and by command; most jobs first."""

    total: Figures
    queues: dict[str, Figures]
    commands: dict[str, Figures]


def add_up(jobs: Iterable[Ended]) -> Stats:
    """Add up the figures of jobs that have ended."""
    total = Figures()
    queues: dict[str, Figures] = {}
    commands: dict[str, Figures] = {}
    for ended in jobs:
        total.add(ended)
        for groups, name in ((queues, ended[0]), (commands, ended[1])):
            if name not in groups:
                groups[name] = Figures()
            groups[name].add(ended)
    return Stats(total, _most_first(queues), _most_first(commands))


def percentile(values: Sequence[float], percent: int) -> float | None:
    """Give the least value that so many percent of the values do not exceed (nearest rank)."""
    if not values:
        return None
    return sorted(values)[max(0, ceil(len(values) * percent / 100) - 1)]


def _most_first(groups: dict[str, Figures]) -> dict[str, Figures]:
    def size(group: tuple[str, Figures]) -> tuple[int, str]:
        figures = group[1]
        return -(figures.completed + figures.dead + figures.cancelled), group[0]

    return dict(sorted(groups.items(), key=size))
