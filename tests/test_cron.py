"""When schedules fire: cron's fields, clock changes against a slow second opinion, and croniter."""

from __future__ import annotations

import random
import re
import unittest
from datetime import UTC, datetime, timedelta
from itertools import islice, pairwise, takewhile

from queuectl import cron
from tests.support import ROOT

HOUR = 3_600_000
LINES = 10_000
SEED = 20261124
MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
WEEKDAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
RANGES = (
    (0, 59, {}), (0, 23, {}), (1, 31, {}), (1, 12, dict(enumerate(MONTHS, 1))),
    (0, 7, dict(enumerate(WEEKDAYS))),
)  # fmt: skip

# zone, the first midnight (UTC) to look from, days: both changes of three zones, and an odd one.
CHANGES = (
    ("Europe/Berlin", "2027-03-27", 3), ("Europe/Berlin", "2027-10-30", 3),
    ("America/New_York", "2027-03-13", 3), ("America/New_York", "2027-11-06", 3),
    ("Australia/Lord_Howe", "2027-10-01", 4), ("Australia/Lord_Howe", "2027-04-02", 4),
    ("America/Santiago", "2027-04-02", 4), ("America/Santiago", "2027-09-03", 4),
    ("Pacific/Apia", "2011-12-29", 4), ("UTC", "2027-03-27", 2),
)  # fmt: skip
DST_LINES = (
    "* * * * *", "*/7 * * * *", "30 * * * *", "30 */2 * * *", "15 1-3 * * *", "0,30 2 * * *",
    "30 2 * * *", "0 3 * * *", "0 2,3 * * *", "* 1 * * *", "59 0 * * *", "0 0 * * *",
    "45 23,0,1 * * *", "5 */3,2 * * *", "30 2 28 3 *", "0 12 * * sun",
)  # fmt: skip


def at(text: str, zone: str = "UTC") -> int:
    """Give the instant (ms) that a text names; the clock of a zone where it has no offset."""
    moment = datetime.fromisoformat(text)
    moment = moment if moment.tzinfo else moment.replace(tzinfo=cron.zone(zone))
    return round(moment.timestamp() * 1000)


def shown(instant: int, zone: str) -> str:
    return datetime.fromtimestamp(instant / 1000, cron.zone(zone)).isoformat()


def first(line: str, after: str, zone: str = "UTC", count: int = 1) -> list[str]:
    """Give the first instants of a line after a time, as the zone's clock shows them."""
    found = cron.ticks(cron.parse(line), cron.zone(zone), at(after, zone))
    return [shown(instant, zone) for instant in islice(found, count)]


def by_hand(line: cron.Cron, zone: str, begin: int, end: int) -> list[int]:
    """Give what the rules say by looking at the clock at every minute: slow, and another way."""
    found: set[int] = set()
    seen: set[datetime] = set()
    before = clock(begin, zone) - timedelta(minutes=1)
    for instant in range(begin, end, 60_000):
        now = clock(instant, zone)
        again = now in seen
        seen.add(now)
        if matches(line, now) and (line.follows_clock or not again):
            found.add(instant)
        skipped = before + timedelta(minutes=1)
        while not line.follows_clock and skipped < now:
            if matches(line, skipped):
                found.add(instant)
            skipped += timedelta(minutes=1)
        before = now
    return sorted(found)


def clock(instant: int, zone: str) -> datetime:
    return datetime.fromtimestamp(instant / 1000, cron.zone(zone)).replace(tzinfo=None, fold=0)


def matches(line: cron.Cron, now: datetime) -> bool:
    time_fits = now.minute in line.minutes and now.hour in line.hours and now.month in line.months
    return time_fits and line.falls_on(now)


class FieldsTest(unittest.TestCase):
    def test_what_a_line_means(self) -> None:
        for line, fires in (
            ("0 3 * * *", ["2026-11-25T03:00:00+00:00", "2026-11-26T03:00:00+00:00"]),
            ("*/20 12 * * *", ["2026-11-24T12:20:00+00:00", "2026-11-24T12:40:00+00:00"]),
            ("50/5 12 * * *", ["2026-11-24T12:50:00+00:00", "2026-11-24T12:55:00+00:00"]),
            ("1-9/4,7 13 * * *", ["2026-11-24T13:01:00+00:00", "2026-11-24T13:05:00+00:00",
                                  "2026-11-24T13:07:00+00:00", "2026-11-24T13:09:00+00:00"]),
            ("0 0 * FEB Mon", ["2027-02-01T00:00:00+00:00", "2027-02-08T00:00:00+00:00"]),
            ("0 0 * * 7", ["2026-11-29T00:00:00+00:00", "2026-12-06T00:00:00+00:00"]),
            ("0 0 * * sat-sun", ["2026-11-28T00:00:00+00:00", "2026-11-29T00:00:00+00:00"]),
            ("0 0 29 2 *", ["2028-02-29T00:00:00+00:00", "2032-02-29T00:00:00+00:00"]),
            ("0 0 31 * *", ["2026-12-31T00:00:00+00:00", "2027-01-31T00:00:00+00:00"]),
            (" @Hourly ", ["2026-11-24T13:00:00+00:00", "2026-11-24T14:00:00+00:00"]),
            ("@daily", ["2026-11-25T00:00:00+00:00"]),
            ("@midnight", ["2026-11-25T00:00:00+00:00"]),
            ("@weekly", ["2026-11-29T00:00:00+00:00"]),
            ("@monthly", ["2026-12-01T00:00:00+00:00"]),
            ("@yearly", ["2027-01-01T00:00:00+00:00"]),
            ("@annually", ["2027-01-01T00:00:00+00:00"]),
        ):  # fmt: skip
            with self.subTest(line):
                self.assertEqual(first(line, "2026-11-24T12:00", count=len(fires)), fires)

    def test_the_rule_for_the_two_day_fields(self) -> None:
        for line, days in (
            ("0 0 13 * fri", [27, 4, 11, 13, 18]),  # both restrict: either is enough
            ("0 0 */2 * fri", [27, 11, 25]),  # one begins with *: both must fit
            ("0 0 1-7 * *", [1, 2, 3]),
            ("0 0 13 * */2", [13, 13, 13]),  # a 13th that is a Sunday, Tuesday, Thursday, Saturday
        ):
            with self.subTest(line):
                found = first(line, "2026-11-24T12:00", count=len(days))
                self.assertEqual([int(text[8:10]) for text in found], days)

    def test_what_is_refused(self) -> None:
        for line, why in (
            ("0 0 30 2 *", "never fires"), ("0 0 31 4,6,9,11 *", "never fires"),
            ("0 0 31 feb */2", "never fires"), ("0 0 30-31 2 *", "never fires"),
            ("60 * * * *", "minute takes 0-59"), ("* 24 * * *", "hour takes 0-23"),
            ("* * 0 * *", "day takes 1-31"), ("* * * 13 *", "month takes 1-12"),
            ("* * * * 8", "weekday takes 0-7"), ("* * * mon *", "month takes 1-12"),
            ("* * * *", "five fields"), ("* * * * * *", "five fields"), ("", "five fields"),
            ("@reboot", "@hourly"), ("@every 5m", "@hourly"), ("*/0 * * * *", "nothing"),
            ("9-5 * * * *", "nothing"), ("*-5 * * * *", "minute takes *"),
            ("1,,2 * * * *", "minute takes *"), ("/5 * * * *", "minute takes *"),
            ("-1 * * * *", "minute takes *"), ("1.5 * * * *", "minute takes *"),
            ("* * L * *", "day takes"), ("* * * * 5#3", "weekday takes *"),
            ("* * ? * *", "day takes *"), ("*\0 * * * *", "minute takes *"),
            ("9" * 100_000 + " * * * *", "minute takes"), (7, "takes text"), (None, "takes text"),
        ):  # fmt: skip
            with self.subTest(str(line)[:40]):
                with self.assertRaises(ValueError) as caught:
                    cron.parse(line)
                self.assertIn(why, str(caught.exception))
                self.assertLess(len(str(caught.exception)), 200)

    def test_where_both_days_restrict_a_weekday_always_comes(self) -> None:
        self.assertEqual(first("0 0 30 2 mon", "2026-11-24"), ["2027-02-01T00:00:00+00:00"])

    def test_the_longest_wait_that_a_line_can_ask_for(self) -> None:
        found = first("0 0 29 2 */7", "2080-03-01", count=2)
        self.assertEqual(found, ["2088-02-29T00:00:00+00:00", "2128-02-29T00:00:00+00:00"])

    def test_the_calendar_ends(self) -> None:
        self.assertEqual(first("0 0 1 1 *", "9999-02-01"), [])
        self.assertEqual(len(first("0 12 * * *", "9999-12-29", count=9)), 3)

    def test_zones(self) -> None:
        for name in ("Europe/Berlin", "UTC", "Etc/GMT+5", "America/Argentina/Ushuaia"):
            self.assertEqual(str(cron.zone(name)), name)
        for wrong in ("Mars/Base", "", "../../etc/passwd", "/etc/passwd", "America", "a\0b", None,
                      "CET-1CEST,M3.5.0,M10.5.0/3", "Europe/Berlin ", "x" * 5000):  # fmt: skip
            with self.subTest(str(wrong)[:30]), self.assertRaises(ValueError):
                cron.zone(wrong)


class LengthsTest(unittest.TestCase):
    def test_every_length_counts_from_the_start(self) -> None:
        self.assertEqual([*islice(cron.beats(90, 1000, 1000), 3)], [91_000, 181_000, 271_000])
        self.assertEqual([*islice(cron.beats(90, 1000, 181_000), 1)], [271_000])
        self.assertEqual([*islice(cron.beats(90, 1000, 180_999), 1)], [181_000])
        self.assertEqual([*islice(cron.beats(90, 1000, -5), 1)], [91_000])
        self.assertEqual([*islice(cron.beats(0.1, 0, 10**15 + 1), 1)], [10**15 + 100])

    def test_the_last_one_that_has_passed(self) -> None:
        dice = random.Random(SEED)
        for every_s in (1, 7, 3600, 86_400 * 30):
            for _ in range(50):
                now = dice.randint(0, 10**9)
                due = every_s * 1000
                wanted = now // due * due
                with self.subTest(every_s=every_s, now=now):
                    if now >= due:
                        found = cron.latest(lambda t, e=every_s: cron.beats(e, 0, t), due, now)
                        self.assertEqual(found, wanted)


class ClockChangesTest(unittest.TestCase):
    def test_against_a_look_at_every_minute(self) -> None:
        for zone, begin, days in CHANGES:
            start, end = at(begin), at(begin) + days * 24 * HOUR
            for text in DST_LINES:
                line = cron.parse(text)
                with self.subTest(f"{text} in {zone} from {begin}"):
                    wanted = by_hand(line, zone, start, end)
                    found = cron.ticks(line, cron.zone(zone), start - 1)
                    self.assertEqual([*takewhile(lambda t: t < end, found)], wanted)  # noqa: B023

    def test_it_does_not_matter_where_one_begins(self) -> None:
        dice = random.Random(SEED)
        for zone, begin, days in CHANGES:
            start, end = at(begin), at(begin) + days * 24 * HOUR
            for text in DST_LINES:
                line = cron.parse(text)
                every = [*takewhile(lambda t: t < end, cron.ticks(line, cron.zone(zone), start))]  # noqa: B023
                for _ in range(12):
                    after = dice.randint(start, end - 1)
                    with self.subTest(f"{text} in {zone} after {shown(after, zone)}"):
                        wanted = [t for t in every if t > after]
                        found = cron.ticks(line, cron.zone(zone), after)
                        self.assertEqual([*islice(found, len(wanted))], wanted)

    def test_what_the_documentation_says(self) -> None:
        for line, after, zone, fires in (
            ("30 2 * * *", "2027-03-28T00:00", "Europe/Berlin", ["03:00:00+02:00"]),
            ("30 2 * * *", "2027-10-31T00:00", "Europe/Berlin", ["02:30:00+02:00"]),
            ("30 * * * *", "2027-03-28T01:00", "Europe/Berlin",
             ["01:30:00+01:00", "03:30:00+02:00"]),
            ("30 * * * *", "2027-10-31T02:00", "Europe/Berlin",
             ["02:30:00+02:00", "02:30:00+01:00", "03:30:00+01:00"]),
            ("0,30 2 * * *", "2027-03-14T00:00", "America/New_York", ["03:00:00-04:00"]),
            ("30 1 * * *", "2027-11-07T00:00", "America/New_York", ["01:30:00-04:00"]),
            ("30 * * * *", "2027-11-07T01:00", "America/New_York",
             ["01:30:00-04:00", "01:30:00-05:00"]),
            ("15 2 * * *", "2027-10-03T00:00", "Australia/Lord_Howe", ["02:30:00+11:00"]),
            ("45 1 * * *", "2027-04-04T00:00", "Australia/Lord_Howe", ["01:45:00+11:00"]),
            ("*/15 * * * *", "2027-04-04T01:40", "Australia/Lord_Howe",
             ["01:45:00+11:00", "01:30:00+10:30", "01:45:00+10:30", "02:00:00+10:30"]),
        ):  # fmt: skip
            with self.subTest(f"{line} in {zone} after {after}"):
                found = first(line, after, zone, len(fires))
                self.assertEqual(found, [after[:11] + rest for rest in fires])

    def test_the_table_in_the_documentation(self) -> None:
        text = (ROOT / "docs" / "schedules.md").read_text(encoding="utf-8")
        rows = re.findall(r"^\| (\S+/\S+) \| (\S+) \|.*\| `(.+)` \| (.+) \|$", text, re.M)
        self.assertEqual(len({zone for zone, *_ in rows}), 3)
        for zone, day, line, told in rows:
            with self.subTest(f"{line} in {zone} on {day}"):
                fires = [f"{day}T{time}" for time in told.split(", ")]
                midnight = (datetime.fromisoformat(day) - timedelta(seconds=1)).isoformat()
                self.assertEqual(first(line, midnight, zone, len(fires)), fires)

    def test_fixed_hours_fire_once_a_day_whatever_the_clock_does(self) -> None:
        for zone in ("Europe/Berlin", "America/New_York", "Australia/Lord_Howe"):
            for line in ("30 2 * * *", "30 1 * * *", "0 0 * * *"):
                found = cron.ticks(cron.parse(line), cron.zone(zone), at("2027-01-01", zone))
                year = [shown(t, zone)[:10] for t in islice(found, 364)]
                with self.subTest(f"{line} in {zone}"):
                    self.assertEqual(len(set(year)), 364)
                    self.assertEqual(year, sorted(year))


class Dice:
    """Rolls lines of the grammar that croniter and we both mean to read."""

    def __init__(self) -> None:
        self._dice = random.Random(SEED)

    def instant(self) -> int:
        return self._dice.randint(0, 4_000_000_000)

    def line(self) -> str:
        return " ".join(self._field(*bounds) for bounds in RANGES)

    def _field(self, low: int, high: int, names: dict[int, str]) -> str:
        if self._dice.random() < 0.35:
            return "*" + self._step(high, 0.4)
        count = self._dice.choice((1, 1, 1, 2, 3))
        return ",".join(self._part(low, high, names) for _ in range(count))

    def _part(self, low: int, high: int, names: dict[int, str]) -> str:
        begin, end = sorted((self._dice.randint(low, high), self._dice.randint(low, high)))
        if begin == end or self._dice.random() < 0.5:
            return self._word(begin, names) + self._step(high, 0.2)
        return f"{self._word(begin, names)}-{self._word(end, names)}{self._step(high, 0.4)}"

    def _step(self, high: int, chance: float) -> str:
        return f"/{self._dice.randint(1, high + 3)}" if self._dice.random() < chance else ""

    def _word(self, number: int, names: dict[int, str]) -> str:
        name = names.get(number) if self._dice.random() < 0.3 else None
        return self._dice.choice((name, name.upper(), name.title())) if name else str(number)


class CroniterTest(unittest.TestCase):
    """The differences that are ours by decision are listed in docs/schedules.md, and here."""

    def setUp(self) -> None:
        try:
            from croniter import croniter
        except ImportError:
            self.skipTest("croniter is not installed")
        self.croniter = croniter

    def theirs(self, line: str, after_s: int, count: int = 3, **more: object) -> list[int] | None:
        """Give the seconds at which croniter fires; None where it refuses the line."""
        try:
            ticks = self.croniter(line, after_s, **{"implement_cron_bug": True, **more})
            return [int(ticks.get_next(float)) for _ in range(count)]
        except (ValueError, KeyError):  # its errors are ValueErrors
            return None

    def ours(self, line: str, after_s: int, count: int = 3) -> list[int] | None:
        try:
            found = cron.ticks(cron.parse(line), UTC, after_s * 1000)
        except ValueError:
            return None
        return [instant // 1000 for instant in islice(found, count)]

    def test_ten_thousand_lines_and_instants(self) -> None:
        dice = Dice()
        compared = refused = 0
        while compared < LINES:
            line, after_s = dice.line(), dice.instant()
            ours = self.ours(line, after_s)
            with self.subTest(f"{line!r} after {after_s}"):
                self.assertEqual(ours, self.theirs(line, after_s))
            compared += 1
            refused += ours is None
        self.assertLess(refused, LINES / 10)

    def test_only_a_star_in_front_counts_in_a_day_field(self) -> None:
        line, after_s = "0 0 13,* * mon", 1_795_000_000
        ours, theirs = self.ours(line, after_s), self.theirs(line, after_s)
        self.assertEqual([b - a for a, b in pairwise(ours or [])], [86_400] * 2)
        self.assertEqual([b - a for a, b in pairwise(theirs or [])], [604_800] * 2)

    def test_a_step_in_a_day_field_does_not_restrict(self) -> None:
        line, after_s = "0 0 */2 * mon", 1_795_000_000
        ours = self.ours(line, after_s)
        self.assertNotEqual(ours, self.theirs(line, after_s, implement_cron_bug=False))
        self.assertEqual(ours, self.theirs(line, after_s))

    def test_what_croniter_takes_and_we_refuse(self) -> None:
        for line in ("0 0 L * *", "0 0 * * 5#2", "0 0 * * L5", "0 0 * * * 30", "50-10 * * * *",
                     "0 0 ? * *"):  # fmt: skip
            with self.subTest(line):
                self.assertIsNone(self.ours(line, 0))
                self.assertIsNotNone(self.theirs(line, 0, implement_cron_bug=False))

    def test_a_range_of_one_is_that_one(self) -> None:
        self.assertEqual(self.ours("5-5 * * * *", 0), [300, 3900, 7500])
        self.assertNotEqual(self.theirs("5-5 * * * *", 0), [300, 3900, 7500])

    def test_a_weekend_may_be_written_as_a_range(self) -> None:
        self.assertEqual(self.ours("0 0 * * sat-sun", 0), self.theirs("0 0 * * 6,0", 0))


if __name__ == "__main__":
    unittest.main()
