"""What people type, reader by reader: what each takes, and what it refuses in words."""

from __future__ import annotations

import os
import time
import unittest
from collections.abc import Callable

from queuectl import values

BIG = 10**18

# reader -> what it takes, and as what.
GOOD: tuple[tuple[Callable[[object], object], tuple[tuple[object, object], ...]], ...] = (
    (values.text, (("", ""), ("a b\n", "a b\n"), ("ä€😀", "ä€😀"), ("x" * 65_536, "x" * 65_536))),
    (values.filled, (("a", "a"), (" a ", " a "))),
    (values.count, (("0", 0), (0, 0), ("007", 7), ("+3", 3), (10**9, 10**9), ("-0", 0))),
    (values.positive, (("1", 1), (5, 5))),
    (values.whole, (("-5", -5), (-5, -5), ("1000000000", 10**9), ("-1000000000", -(10**9)))),
    (
        values.number,
        (("0", 0.0), ("1.5", 1.5), (".5", 0.5), ("2.", 2.0), (3, 3.0), (2.5, 2.5), ("+1", 1.0)),
    ),
    (
        values.duration,
        (
            ("0", 0.0), ("90", 90.0), ("90s", 90.0), ("1h30m", 5_400.0), ("2d", 172_800.0),
            ("1w", 604_800.0), ("500ms", 0.5), ("1.5h", 5_400.0), ("0.25", 0.25), (90, 90.0),
            (1.5, 1.5), ("1m30s", 90.0), ("1000000000", 1e9),
        ),
    ),
    (values.length, (("1ms", 0.001), ("5", 5.0), ("1h", 3_600.0))),
    (
        values.size,
        (
            ("0", 0), ("64MiB", 64 << 20), ("10k", 10_240), ("10KB", 10_240), ("1g", 1 << 30),
            ("1048576", 1 << 20), (5, 5), ("2 MiB", 2 << 20), ("1T", 1 << 40), ("7b", 7),
        ),
    ),
    (values.name, (("default", "default"), ("A.b_c-9", "A.b_c-9"), ("7", "7"), ("x" * 64,) * 2)),
    (values.job_id, (("nightly", "nightly"), ("2026-12-01", "2026-12-01"), ("0x", "0x"))),
    (values.names, (("a,b", ["a", "b"]), (["a", "b"], ["a", "b"]), ("a", ["a"]))),
    (values.exit_codes, (("2,64", "2,64"), ([2, "64"], "2,64"), (7, "7"), ("255", "255"))),
    (values.flag, ((True, True), (False, False))),
    (values.choice("full", "normal"), (("full", "full"), ("normal", "normal"))),
    (values.optional(values.length), (("none", None), (None, None), ("5", 5.0))),
)  # fmt: skip

_NO_NAME = (
    "", " ", "../x", "a/b", ".a", "-a", "_a", "a b", "a\n", "ä", "x" * 65, "a\0", "a;b", 5, None,
    True, ["a"],
)  # fmt: skip
_NO_WHOLE = (
    "", " ", "x", "1.0", "1.5", 1.0, 1.5, "1e3", "0x10", "1_000", "٣", "1\n", " 1", "--1", "1 ",
    True, False, None, [], {}, "9" * 19, BIG, -BIG, "1000000001", float("nan"), float("inf"),
)  # fmt: skip
_NO_NUMBER = (
    "", "x", ".", "-1", -1, -0.001, "nan", "NaN", "inf", "Infinity", "-inf", "1e3", "1e400",
    float("nan"), float("inf"), float("-inf"), 10**400, "9" * 400, "1_0", "٣", True, None, [],
    "1000000001", "1,5",
)  # fmt: skip

BAD: tuple[tuple[Callable[[object], object], tuple[object, ...]], ...] = (
    (values.text, (5, None, True, [], {}, "a\0b", "\udcff", "x" * 65_537, "ä" * 32_769)),
    (values.filled, ("", " ", "\n\t", "a\0", 5, None, "\udcff")),
    (values.count, (*_NO_WHOLE, "-1", -1)),
    (values.positive, (*_NO_WHOLE, "0", 0, "-1")),
    (values.whole, _NO_WHOLE),
    (values.number, _NO_NUMBER),
    (
        values.duration,
        (
            *_NO_NUMBER, "1x", "h", "1h30", "30 s", "-5s", "1h-5m", "1..5", "1.5.2", "1H", "5 m",
            "1h 30m", "99999999999d", "s5", "1s\n",
        ),
    ),
    (values.length, (*_NO_NUMBER, "0", 0, "0s", "0.0001", "0h0m")),
    (values.size, ("", "x", "-1", -1, "1.5k", 1.5, True, None, [], "k", "1e9", "9" * 20, "5 5")),
    (values.name, _NO_NAME),
    (values.job_id, (*_NO_NAME, "7", "0", "123456789")),
    (values.names, ("", ",", "a,", "a,,b", "a b", [], [""], [5], {}, None, 5)),
    (values.exit_codes, ("", "0", "256", "-1", "a", "1,", "1;2", [0], [256], [1.5], None, True)),
    (values.flag, (0, 1, "true", "false", None, [])),
    (values.choice("full", "normal"), ("", "FULL", "ful", None, 1, [], {})),
    (values.optional(values.length), ("", "None", "no", "0", 0, -1)),
)  # fmt: skip


class ReadersTest(unittest.TestCase):
    def test_what_each_takes(self) -> None:
        for read, table in GOOD:
            for value, wanted in table:
                with self.subTest(reader=read.__qualname__, value=ascii(value)[:40]):
                    found = read(value)
                    self.assertEqual((found, type(found)), (wanted, type(wanted)))

    def test_what_each_refuses(self) -> None:
        for read, table in BAD:
            for value in table:
                shown = ascii(value)[:40] if not isinstance(value, int) else "int"
                with self.subTest(reader=read.__qualname__, value=shown):
                    with self.assertRaises(ValueError) as caught:
                        read(value)
                    words = str(caught.exception)
                    self.assertTrue(words.isprintable() and words.isascii(), words)
                    self.assertLess(len(words), 200)


class InstantTest(unittest.TestCase):
    NOW = 1_800_000_000_000  # 2027-01-15T08:00:00Z

    def setUp(self) -> None:
        zone = os.environ.get("TZ")
        self.addCleanup(self._in_zone, zone)

    def _in_zone(self, zone: str | None) -> None:
        os.environ.pop("TZ", None)
        if zone is not None:
            os.environ["TZ"] = zone
        time.tzset()

    def test_what_it_takes(self) -> None:
        for typed, wanted in (
            ("2027-01-15T08:00:00Z", self.NOW),
            ("2027-01-15T08:00:00.250Z", self.NOW + 250),
            ("2027-01-15T09:00:00+01:00", self.NOW),
            ("2027-01-15T08:00Z", self.NOW),
            ("1970-01-01T00:00:00Z", 0),
        ):
            with self.subTest(typed):
                self.assertEqual(values.instant(typed, self.NOW), wanted)

    def test_without_an_offset_it_is_local(self) -> None:
        self._in_zone("XXX-3")  # three hours east, needs no zone database
        for typed, wanted in (
            ("2027-01-15 11:00", self.NOW),
            ("2027-01-15T11:00:00", self.NOW),
            ("11:01", self.NOW + 60_000),
            ("11:00", self.NOW + 86_400_000),  # now is not next
            ("9:30", self.NOW + (22 * 60 + 30) * 60_000),
        ):
            with self.subTest(typed):
                self.assertEqual(values.instant(typed, self.NOW), wanted)

    def test_the_next_clock_time_steps_over_a_month_and_a_year(self) -> None:
        self._in_zone("UTC0")
        last = 1_798_761_540_000  # 2026-12-31T23:59:00Z
        self.assertEqual(values.instant("23:58", last), last + 86_340_000)
        self.assertEqual(values.instant("0:00", last), last + 60_000)

    def test_what_it_refuses(self) -> None:
        for typed in (
            "", "x", "now", "soon!", "tomorrow", "24:00", "12:60", "12", "1:1", ":", "-1:00",
            "12:00:00", "2027-02-30 10:00", "2027-13-01 10:00", "2027-01-15", "2027-01-15T25:00Z",
            "2027-01-15 08:00 Z!", "1969-12-31T00:00:00Z", "99999-01-01T00:00Z", "\u0663:00", "1e9",
            "9999-12-31T23:59:59-23:59", "9:\x0000", 5, None, True, [],
        ):  # fmt: skip
            with self.subTest(typed), self.assertRaises(ValueError) as caught:
                values.instant(typed, self.NOW)
            self.assertIn("takes a time", str(caught.exception))


class NearestTest(unittest.TestCase):
    def test_it_names_the_closest_or_nothing(self) -> None:
        known = ["enqueue", "list", "worker"]
        self.assertEqual(values.nearest("enque", known), "Did you mean enqueue?")
        self.assertEqual(values.nearest("lst", known), "Did you mean list?")
        self.assertEqual(values.nearest("lis", known), "Did you mean list?")
        flags = ["--id", "--json", "--help", "--slots", "--at", "--priority", "--max-retries"]
        for typed, meant in (("--prio", "--priority"), ("--retries", "--max-retries")):
            self.assertEqual(values.nearest(typed, flags), f"Did you mean {meant}?")
        for wild in ("--cron", "--dir", "--shell", "--log", "--tag", "--i"):
            self.assertEqual(values.nearest(wild, flags), "", wild)
        self.assertEqual(values.nearest("xyzzy", known), "")


if __name__ == "__main__":
    unittest.main()
