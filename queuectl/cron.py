"""When a schedule fires: cron's five fields or a length, through a zone's clock changes.

Pure: no clock, no file but the zone data. An instant is in ms since 1970, UTC. A cron line is
matched against the wall clock of a zone, so the day on which that clock jumps has two rules:
an hour field that begins with `*` follows the clock as it is; fixed hours fire once a day.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, tzinfo

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

MACROS = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
_MONTHS = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"]
_WEEKDAYS = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"]
# field -> its lowest and highest number, and the number of each name.
_FIELDS: dict[str, tuple[int, int, dict[str, int]]] = {
    "minute": (0, 59, {}),
    "hour": (0, 23, {}),
    "day": (1, 31, {}),
    "month": (1, 12, {name: number for number, name in enumerate(_MONTHS, 1)}),
    "weekday": (0, 7, {name: number for number, name in enumerate(_WEEKDAYS)}),
}
_LONGEST = (31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
_EPOCH = datetime(1970, 1, 1)


@dataclass(frozen=True)
class Cron:
    """A cron line that was read. `weekdays` counts from Sunday, which is 0."""

    minutes: tuple[int, ...]
    hours: tuple[int, ...]
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]
    either_day: bool  # both day fields restrict, so one that matches is enough
    follows_clock: bool  # the hour field begins with *

    def falls_on(self, day: date) -> bool:
        """Say whether it fires on a day (of a month that matches)."""
        by_month = day.day in self.days
        by_week = day.isoweekday() % 7 in self.weekdays
        return by_month or by_week if self.either_day else by_month and by_week


def parse(line: object) -> Cron:
    """Read five fields or a macro; raises ValueError with words that follow "--cron"."""
    if not isinstance(line, str):
        raise ValueError(f"takes text, not {_shown(line)}")
    fields = MACROS.get(line.strip().lower(), line).split()
    if line.strip().startswith("@") and len(fields) != 5:
        raise ValueError(f"takes {', '.join(MACROS)}, not {_shown(line)}")
    if len(fields) != 5:
        raise ValueError(f"takes five fields (minute hour day month weekday), not {_shown(line)}")
    minutes, hours, days, months, weekdays = (
        _field(name, text) for name, text in zip(_FIELDS, fields, strict=True)
    )
    # cron's rule, by the first character: `*/2` in one day field leaves the other in force.
    either = not fields[2].startswith("*") and not fields[4].startswith("*")
    if not either and not any(min(days) <= _LONGEST[month - 1] for month in months):
        raise ValueError(f"never fires: no such month has that day: {_shown(line)}")
    return Cron(
        tuple(sorted(minutes)), tuple(sorted(hours)), frozenset(days), frozenset(months),
        frozenset(day % 7 for day in weekdays), either, fields[1].startswith("*"),
    )  # fmt: skip


def _field(name: str, text: str) -> set[int]:
    return {number for part in text.split(",") for number in _part(name, part)}


def _part(name: str, text: str) -> range:
    """Read `*`, N, N-M, each perhaps with a /STEP; N/STEP goes on to the end."""
    low, high, _ = _FIELDS[name]
    match = re.fullmatch(r"(\*|[0-9a-z]+)(?:-([0-9a-z]+))?(?:/([0-9]{1,4}))?", text.lower())
    if not match or (match[1] == "*" and match[2]):
        raise ValueError(f"{name} takes *, N, N-M, */STEP or a list, not {_shown(text)}")
    first = low if match[1] == "*" else _number(name, match[1])
    if match[2]:
        last = _number(name, match[2])
        last = 7 if name == "weekday" and last == 0 < first else last  # fri-sun
    elif match[1] == "*" or match[3]:
        first, last = (first % 7, 6) if name == "weekday" else (first, high)
    else:
        last = first
    step = int(match[3] or 1)
    if step < 1 or first > last:
        raise ValueError(f"{name} has a range or a step that takes nothing: {_shown(text)}")
    return range(first, last + 1, step)


def _number(name: str, word: str) -> int:
    low, high, names = _FIELDS[name]
    number = names.get(word, int(word) if word.isdigit() and len(word) < 4 else -1)
    if not low <= number <= high:
        raise ValueError(f"{name} takes {low}-{high}, not {_shown(word)}")
    return number


def zone(name: object) -> tzinfo:
    """Give a zone of the time zone database by its name; raises ValueError."""
    from zoneinfo import ZoneInfo

    if name == "UTC":
        return UTC  # also on a machine that has no zone data
    try:
        if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z][A-Za-z0-9._+/-]{0,99}", name):
            raise ValueError(name)
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        hint = "a zone such as Europe/Berlin or UTC"
        raise ValueError(f"takes {hint}; there is no zone {_shown(name)}") from None


def ticks(cron: Cron, where: tzinfo, after: int) -> Iterator[int]:
    """Give each instant after `after` at which a cron line fires, until the year 9999."""
    try:
        yield from (
            _by_clock(cron, where, after) if cron.follows_clock else _once_each(cron, where, after)
        )
    except (OverflowError, ValueError):
        return  # beyond what a calendar can say


def beats(every_s: float, start: int, after: int) -> Iterator[int]:
    """Give each instant after `after` that is a whole number of lengths after `start`."""
    every_ms = max(round(every_s * 1000), 1)
    instant = start + every_ms * max((after - start) // every_ms + 1, 1)
    while True:
        yield instant
        instant += every_ms


def latest(after: Callable[[int], Iterator[int]], first: int, now: int) -> int:
    """Give the last instant up to `now`, where `first` is one that has passed.

    `after` gives the instants after one. It looks back ever farther: a year of minutes that
    nobody was there for need not be counted.
    """
    back_ms = 60_000
    while True:
        begin = max(now - back_ms, first - 1)
        found = first - 1
        for instant in after(begin):
            if instant > now:
                break
            found = instant
        if found >= first or begin < first:
            return max(found, first)
        back_ms *= 2


def _once_each(cron: Cron, where: tzinfo, after: int) -> Iterator[int]:
    """Fixed hours: what a gap skips comes at its end, what is doubled on its first pass.

    In the order of the wall clock these instants never go back; several that one gap skips
    come to the same instant, which is one tick.
    """
    last = after
    for wall in _walls(cron, _local(after, where)):
        found = _instants(wall, where)
        instant = found[0] if found else _end_of_gap(wall, where)
        if instant > last:
            last = instant
            yield instant


def _by_clock(cron: Cron, where: tzinfo, after: int) -> Iterator[int]:
    """Hours with `*`: whenever the clock on the wall shows it; in a gap never, doubled twice."""
    start = _local(after, where)
    begin = start
    if start.fold == 0:  # on a first pass, the second one begins earlier on the clock
        begin -= max(_offset(start, where, 0) - _offset(start, where, 1), timedelta(0))
    second: list[int] = []  # what the second pass still has to bring
    for wall in _walls(cron, begin):
        passes = _instants(wall, where)
        while second and passes and second[0] < passes[0]:
            yield second.pop(0)
        if passes and passes[0] > after:
            yield passes[0]
        second += [instant for instant in passes[1:] if instant > after]
    yield from second


def _walls(cron: Cron, begin: datetime) -> Iterator[datetime]:
    """Give what the clock shows when it fires, from `begin` on, in order."""
    floor = begin.replace(second=0, microsecond=0, fold=0)
    for day in _days(cron, floor.date()):
        for hour in cron.hours:
            for minute in cron.minutes:
                wall = datetime(day.year, day.month, day.day, hour, minute)
                if wall >= floor:
                    yield wall


def _days(cron: Cron, day: date) -> Iterator[date]:
    while True:
        if day.month not in cron.months:
            day = (day.replace(day=28) + timedelta(days=4)).replace(day=1)
            continue
        if cron.falls_on(day):
            yield day
        day += timedelta(days=1)


def _instants(wall: datetime, where: tzinfo) -> list[int]:
    """Give the instants at which the clock shows this: one, two, or none in a gap."""
    early, late = _offset(wall, where, 0), _offset(wall, where, 1)
    if early < late:
        return []
    return [_ms(wall - offset) for offset in ([early] if early == late else [early, late])]


def _end_of_gap(wall: datetime, where: tzinfo) -> int:
    """Give the first instant after the gap that skips this time of the clock."""
    before, behind = wall - _offset(wall, where, 1), wall - _offset(wall, where, 0)
    low, high = _ms(before) // 1000, _ms(behind) // 1000
    old = _local(low * 1000, where) - (_EPOCH + timedelta(seconds=low))
    while high - low > 1:
        middle = (low + high) // 2
        now = _local(middle * 1000, where) - (_EPOCH + timedelta(seconds=middle))
        low, high = (middle, high) if now == old else (low, middle)
    return high * 1000


def _offset(wall: datetime, where: tzinfo, fold: int) -> timedelta:
    return wall.replace(tzinfo=where, fold=fold).utcoffset() or timedelta(0)


def _local(instant: int, where: tzinfo) -> datetime:
    """Give what the clock of a zone shows, with its fold but without the zone."""
    moment = _EPOCH.replace(tzinfo=UTC) + timedelta(milliseconds=instant)
    return moment.astimezone(where).replace(tzinfo=None)


def _ms(moment: datetime) -> int:
    return (moment - _EPOCH) // timedelta(milliseconds=1)


def _shown(value: object) -> str:
    shown = ascii(value)
    return shown if len(shown) <= 60 else shown[:57] + "..."
