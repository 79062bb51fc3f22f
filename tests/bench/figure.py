"""What was measured: a median, its spread, and the bar that it is to reach."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass

# The middle half of the rounds may differ by this part of the median, no more.
STEADY = 0.3


@dataclass(frozen=True)
class Bar:
    """What a figure is to reach: at least, or at most."""

    limit: float
    at_least: bool = False

    def __str__(self) -> str:
        return f"{'>=' if self.at_least else '<='} {self.limit:g}"

    def met_by(self, value: float) -> bool:
        """Say whether a value reaches it."""
        return value >= self.limit if self.at_least else value <= self.limit


@dataclass(frozen=True)
class Figure:
    """One line of the table. `missing` says why there is no value."""

    name: str
    what: str
    unit: str = "x"
    rounds: tuple[float, ...] = ()
    bar: Bar | None = None
    note: str = ""
    missing: str = ""

    @property
    def value(self) -> float | None:
        """The median over the rounds."""
        return statistics.median(self.rounds) if self.rounds else None

    @property
    def quartiles(self) -> tuple[float, float] | None:
        """What the middle half of the rounds lies between."""
        if len(self.rounds) < 2:
            return None
        low, _, high = statistics.quantiles(self.rounds, n=4, method="inclusive")
        return low, high

    @property
    def steady(self) -> bool | None:
        """Whether the rounds agree; None where there are too few to tell."""
        if not self.value or self.quartiles is None:
            return None
        low, high = self.quartiles
        return (high - low) / self.value <= STEADY

    @property
    def met(self) -> bool | None:
        """Whether the bar is reached; None without a bar or a value."""
        if self.bar is None or self.value is None:
            return None
        return self.bar.met_by(self.value)

    def as_json(self) -> dict[str, object]:
        """Give it as a JSON object."""
        return {
            "name": self.name,
            "what": self.what,
            "unit": self.unit,
            "value": self.value,
            "quartiles": self.quartiles,
            "rounds": self.rounds,
            "steady": self.steady,
            "bar": str(self.bar) if self.bar else None,
            "met": self.met,
            "note": self.note or None,
            "missing": self.missing or None,
        }


@dataclass(frozen=True)
class Contestant:
    """Something that can be timed; `ready` is done before each time, and not timed."""

    name: str
    time: Callable[[], float]  # seconds


def race(contestants: Sequence[Contestant], rounds: int) -> dict[str, list[float]]:
    """Time every contestant once a round, each round beginning with another; give seconds."""
    times: dict[str, list[float]] = {each.name: [] for each in contestants}
    for number in range(rounds):
        first = number % len(contestants)
        for each in (*contestants[first:], *contestants[:first]):
            times[each.name].append(each.time())
    return times


def ratios(numerator: Sequence[float], denominator: Sequence[float]) -> tuple[float, ...]:
    """Divide round by round."""
    return tuple(above / below for above, below in zip(numerator, denominator, strict=True))


def percentile(values: Sequence[float], part: float) -> float:
    """Give the value that this part of the values does not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(part * len(ordered)))]
