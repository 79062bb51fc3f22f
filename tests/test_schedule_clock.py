"""Schedules and real pools under a clock that stands still until the test moves it.

The witness is the ledger that the jobs wrote: which job, and when that job was put in line.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import sqlite3
import unittest
from datetime import UTC, datetime

from queuectl import wake
from queuectl.place import Place
from tests.support import Sandbox, wait_for

MINUTE = 60_000
TICKS = 60
SEED = 7
# Stands before the real library in every queuectl of this test: its clock is a file, in ms.
SITECUSTOMIZE = """
import time

def _now():
    with open({clock!r}) as file:
        return int(file.read())

time.time_ns = lambda: _now() * 1_000_000
time.time = lambda: _now() / 1000
"""

# zone -> its two changes: the first instant to live through, then (all in UTC) when "30 * * * *"
# fires, a line with fixed hours, and when that does.
CLOCK_CHANGES = {
    "Europe/Berlin": (
        ("2027-03-28 00:00", ["00:30", "01:30", "02:30"], "30 2 * * *", ["01:00"]),
        ("2027-10-31 00:00", ["00:30", "01:30", "02:30"], "30 2 * * *", ["00:30"]),
    ),
    "America/New_York": (
        ("2027-03-14 06:00", ["06:30", "07:30", "08:30"], "30 1,2 * * *", ["06:30", "07:00"]),
        ("2027-11-07 05:00", ["05:30", "06:30", "07:30"], "30 1,2 * * *", ["05:30", "07:30"]),
    ),
    "Australia/Lord_Howe": (
        ("2027-10-02 15:00", ["15:30", "16:30", "17:30"], "15 2 * * *", ["15:30"]),
        ("2027-04-03 14:00", ["14:30", "15:00", "16:00", "17:00"], "45 1 * * *", ["14:45"]),
    ),
}


class FakedClockTest(unittest.TestCase):
    def setUp(self) -> None:
        self.box = Sandbox()
        self.addCleanup(self.box.close)
        self.place = Place(str(self.box.db))
        self.clock = self.box.dir / "clock"
        fake = self.box.dir / "fake"
        fake.mkdir()
        (fake / "sitecustomize.py").write_text(SITECUSTOMIZE.format(clock=str(self.clock)))
        self.box.env["PYTHONPATH"] = f"{fake}:{self.box.env['PYTHONPATH']}"

    def set(self, text: str) -> int:
        """Set the clock to a time of UTC; give it in ms."""
        return self.move(round(datetime.fromisoformat(text + "+00:00").timestamp() * 1000))

    def move(self, instant: int) -> int:
        """Set the clock to an instant and wake the pools, as a real minute would in the end."""
        fresh = self.box.dir / "clock.new"
        fresh.write_text(str(instant))
        fresh.rename(self.clock)
        wake.ring_all(self.place)
        return instant

    def ask(self, sql: str, *values: object) -> list[tuple[object, ...]]:
        with contextlib.closing(sqlite3.connect(self.box.db, timeout=30)) as db:
            return db.execute(sql, values).fetchall()

    def has_fired(self, now: int) -> bool:
        """Say whether no schedule has a tick that is due."""
        wake.ring_all(self.place)
        return not self.ask("SELECT 1 FROM schedule WHERE paused = 0 AND next_at <= ?", now)

    def has_run(self, now: int) -> bool:
        return self.has_fired(now) and not self.ask("SELECT 1 FROM job WHERE finished_at IS NULL")

    def settle(self, now: int) -> None:
        wait_for(lambda: self.has_run(now), f"what is due at {now} to have run", 60)

    def add(self, name: str, *words: str) -> None:
        """Add a schedule whose jobs write its name and their id into the ledger."""
        line = f'echo "{name} $QUEUECTL_JOB_ID" >> ledger'
        self.box.ok("schedule", "add", name, *words, line)

    def fired(self, name: str) -> list[str]:
        """Give when the jobs that are in the ledger were put in line, in UTC, one by one."""
        ids = {line.split()[1] for line in self.box.ledger() if line.split()[0] == name}
        rows = self.ask("SELECT id, created_at FROM job ORDER BY created_at")
        found = [int(str(created_at)) for job_id, created_at in rows if job_id in ids]
        return [f"{datetime.fromtimestamp(instant / 1000, UTC):%H:%M}" for instant in found]

    def kill_a_pool(self, dice: random.Random) -> None:
        """Kill a supervisor and its workers, whatever they are doing."""
        pool, pid = dice.choice(self.ask("SELECT id, pid FROM pool"))
        pids = [pid, *(pid for (pid,) in self.ask("SELECT pid FROM worker WHERE pool = ?", pool))]
        dice.shuffle(pids)
        for each in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(str(each)), signal.SIGKILL)

    def test_three_pools_sixty_ticks_and_kills(self) -> None:
        dice = random.Random(SEED)
        now = self.set("2027-05-01 11:59:30")
        self.add("m", "--cron", "* * * * *", "--overlap", "queue")
        for _ in range(3):
            self.box.ok("worker", "start")
        for tick in range(TICKS):
            now = self.set(f"2027-05-01 12:{tick:02}:00")
            if tick % 5 == 2:
                self.kill_a_pool(dice)
                self.box.ok("worker", "start")
            wait_for(lambda: self.has_fired(now), f"tick {tick}", 60)  # noqa: B023
        self.box.ok("schedule", "pause", "m")
        self.settle(self.move(now + 60 * MINUTE))  # whatever waits out a backoff
        self.assertEqual(self.fired("m"), [f"12:{tick:02}" for tick in range(TICKS)])

    def test_both_clock_changes_of_three_zones(self) -> None:
        for zone, changes in CLOCK_CHANGES.items():
            for number, (begin, each, line, once) in enumerate(changes):
                with self.subTest(zone=zone, begin=begin):
                    names = f"each-{zone[:2]}{number}", f"once-{zone[:2]}{number}"
                    self.live_through(zone, begin, line, names)
                    self.assertEqual([self.fired(name) for name in names], [each, once])

    def live_through(self, zone: str, begin: str, line: str, names: tuple[str, str]) -> None:
        """Live through a little more than three hours, a quarter of an hour at a time."""
        now = self.set(begin)
        self.add(names[0], "--cron", "30 * * * *", "--tz", zone)
        self.add(names[1], "--cron", line, "--tz", zone)
        if not self.box.workers():
            self.box.ok("worker", "start")
        for _ in range(12):
            now = self.move(now + 15 * MINUTE)
            self.settle(now)
        self.box.ok("schedule", "remove", *names)

    def test_a_clock_that_jumps(self) -> None:
        self.set("2027-05-01 11:59:30")
        self.add("once", "--cron", "* * * * *")
        self.add("none", "--cron", "*/10 * * * *", "--catchup", "none")
        self.box.ok("worker", "start")
        for text in ("12:00:00", "13:05:30", "11:05:30", "12:30:00", "13:05:59", "13:06", "13:10"):
            self.settle(self.set(f"2027-05-01 {text}"))
        self.assertEqual(self.fired("once"), ["12:00", "13:05", "13:06", "13:10"])
        self.assertEqual(self.fired("none"), ["12:00", "13:10"])

    def test_downtime_becomes_one_job(self) -> None:
        self.set("2027-05-01 11:59:30")
        self.add("once", "--cron", "*/5 * * * *")
        self.add("none", "--cron", "*/5 * * * *", "--catchup", "none")
        now = self.set("2027-05-03 04:02:00")
        self.box.ok("worker", "run", "--burst")
        self.assertTrue(self.has_run(now))
        self.assertEqual([self.fired("once"), self.fired("none")], [["04:02"], []])


if __name__ == "__main__":
    unittest.main()
