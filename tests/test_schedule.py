"""Recurring jobs: each tick once, what is missed, what overlaps, and what bad input gets."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import threading
import unittest
from collections import Counter
from datetime import datetime

from queuectl import config, cron, recurring, spec
from queuectl.errors import Conflict, NotFound, UsageError
from queuectl.job import Schedule
from queuectl.lifecycle import Kind, State
from queuectl.storage import Storage
from tests.store import DAY, NOW, StoreTest, row, temporary
from tests.support import QueueTest, wait_for

MINUTE = 60_000


class ScheduleTest(StoreTest):
    """The store, and schedules that are added to it at NOW."""

    def schedule(self, name: str = "s", replace: bool = False, **asked: object) -> Schedule:
        """Store a schedule that fires every minute, unless asked for something else."""
        if "every" not in asked:
            asked = {"cron": "* * * * *", **asked}
        asked = {"tz": "UTC", "command": "true", "cwd": "/", **asked}
        rhythm, options = recurring.split(asked, str)
        stored = recurring.complete(name, rhythm, options, {}, NOW)
        return self.store.recurring.add(stored, replace=replace)

    def fire(self, schedule: Schedule, now: int) -> tuple[str | None, str]:
        """Fire a schedule as a pool does that looks at `now`."""
        tick, fires, next_at = recurring.due(schedule, now)
        return self.store.recurring.fire(schedule, tick if fires else None, next_at, now)

    def ids(self) -> list[str]:
        return [str(seq) for (seq,) in self.db().execute("SELECT seq FROM job ORDER BY seq")]

    def uses(self) -> list[int]:
        return [uses for (uses,) in self.db().execute("SELECT uses FROM environment ORDER BY id")]


class FiringTest(ScheduleTest):
    def test_a_tick_puts_the_job_in_line_as_it_was_asked_for(self) -> None:
        added = self.schedule(
            "nightly", command="make", queue="build", priority=3, max_retries=1, timeout="90s",
            label="night", no_retry_on="2,3", cwd="/tmp", env={"A": "b"}, slots=2, expires="1h",
        )  # fmt: skip
        assert added.next_at is not None
        now = added.next_at + 5
        self.assertEqual(self.fire(added, now), ("build", ""))
        job = self.store.job("1")
        wanted = {
            "command": "make", "queue": "build", "priority": 3, "max_retries": 1, "timeout_s": 90,
            "label": "night", "no_retry_on": "2,3", "cwd": b"/tmp", "slots": 2, "held": 0,
            "schedule": "nightly", "created_at": now, "run_at": now, "expires_at": now + 3_600_000,
            "state": "pending", "ready": 1, "umask": added.umask, "env": added.env,
        }  # fmt: skip
        self.assertEqual({key: getattr(job, key) for key in wanted}, wanted)
        self.assertIn(b"A=b", self.store.environment(job.env).split(b"\0"))
        after = self.store.recurring.one("nightly")
        self.assertEqual((after.last_at, after.next_at), (added.next_at, added.next_at + MINUTE))

    def test_of_several_pools_that_saw_a_tick_one_fires_it(self) -> None:
        seen = self.schedule(overlap="queue")
        assert seen.next_at is not None
        now = seen.next_at
        barrier = threading.Barrier(8)
        answers: list[tuple[str | None, str]] = []

        def pool() -> None:
            with contextlib.closing(Storage(self.place)) as store:
                tick, _, next_at = recurring.due(seen, now)
                barrier.wait()
                answers.append(store.recurring.fire(seen, tick, next_at, now))

        threads = [threading.Thread(target=pool) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(Counter(answers), {("default", ""): 1, (None, ""): 7})
        self.assertEqual(self.ids(), ["1"])

    def test_what_was_replaced_or_paused_meanwhile_does_not_fire(self) -> None:
        seen = self.schedule()
        assert seen.next_at is not None
        later = dataclasses.replace(seen, created_at=seen.created_at - 1)
        self.assertEqual(self.fire(later, seen.next_at), (None, ""))
        self.store.recurring.pause("s")
        self.assertEqual(self.fire(seen, seen.next_at), (None, ""))
        self.assertEqual(self.ids(), [])

    def test_overlap_skip_waits_for_the_last_job(self) -> None:
        self.schedule()
        for tick, wanted in ((1, True), (2, False), (3, False)):
            self.assertEqual(bool(self._next(tick)), wanted)
        job = self.claim()
        self.assertFalse(self._next(4))
        self.finish(job, Kind.FAILED, exit_code=1)
        self.assertFalse(self._next(5), "a job that will be retried is unfinished")
        self.store.cancel(job.id, NOW)
        self.assertTrue(self._next(6))
        self.assertEqual(self.ids(), ["1", "2"])

    def test_overlap_looks_at_the_jobs_of_that_schedule_alone(self) -> None:
        self.schedule("other")
        self.schedule()
        self.add()
        self.fire(self.store.recurring.one("other"), NOW + MINUTE)
        self.assertTrue(self._next(1))

    def test_overlap_queue_lets_them_pile_up(self) -> None:
        self.schedule(overlap="queue")
        self.assertTrue(all(self._next(tick) for tick in (1, 2, 3)))
        self.assertEqual(self.ids(), ["1", "2", "3"])

    def test_ticks_that_were_missed_become_one_job_or_none(self) -> None:
        for catchup, lines in (("once", 1), ("none", 0)):
            for rhythm in ({"cron": "*/5 * * * *"}, {"every": "5m"}):
                with self.subTest(catchup=catchup, **rhythm):
                    name = f"{catchup}{len(rhythm.get('cron', ''))}"
                    added = self.schedule(name, catchup=catchup, **rhythm)
                    assert added.next_at is not None
                    now = added.next_at + 400 * DAY + 2 * MINUTE
                    self.assertEqual(self.fire(added, now)[0], "default" if lines else None)
                    after = self.store.recurring.one(name)
                    self.assertEqual(after.next_at, now + 3 * MINUTE)
                    self.assertEqual(after.last_at, now - 2 * MINUTE if lines else None)
                    found = [j for j in self.store.select({}, None) if j.schedule == name]
                    self.assertEqual(len(found), lines)

    def test_a_tick_that_is_a_little_late_was_not_missed(self) -> None:
        added = self.schedule(cron="0 * * * *", catchup="none")
        assert added.next_at is not None
        for late_ms, fires in ((0, True), (60_000, True), (60_001, False)):
            with self.subTest(late_ms):
                self.assertEqual(recurring.due(added, added.next_at + late_ms)[1], fires)

    def test_a_clock_that_was_put_back_fires_nothing_again(self) -> None:
        self.schedule(overlap="queue")
        self.assertTrue(self._next(1))
        self.assertTrue(self._next(90))  # forward by 89 minutes: one job
        for tick in range(1, 91):
            self.assertEqual(self.store.recurring.due(NOW + tick * MINUTE), [])
        self.assertTrue(self._next(91))
        self.assertEqual(self.ids(), ["1", "2", "3"])

    def test_a_job_that_is_refused_does_not_stop_the_schedule(self) -> None:
        self.store.set_slots("q", ["0", "1"])
        self.schedule(queue="q", slots=2)
        self.store.set_slots("q", ["0"])
        due = self.store.recurring.one("s")
        queue, why = self.fire(due, NOW + MINUTE)
        self.assertIsNone(queue)
        self.assertIn("never fits", why)
        self.assertEqual(self.store.recurring.one("s").next_at, NOW + 2 * MINUTE)

    def test_a_unique_key_holds_for_ticks_too(self) -> None:
        self.add(unique="k")
        self.schedule(unique="k", overlap="queue")
        queue, why = self.fire(self.store.recurring.one("s"), NOW + MINUTE)
        self.assertIsNone(queue)
        self.assertIn("job 1 ", why)

    def test_what_is_due_and_when_something_will_be(self) -> None:
        self.schedule("hour", cron="0 * * * *")
        self.schedule("minute")
        hour = self.store.recurring.one("hour").next_at
        self.assertEqual(self.store.recurring.due(NOW), [])
        self.assertEqual(self.store.recurring.next_tick(NOW), NOW + MINUTE)
        self.assertEqual([s.name for s in self.store.recurring.due(NOW + MINUTE)], ["minute"])
        self.assertEqual(self.store.recurring.next_tick(NOW + MINUTE), hour)
        self.store.recurring.pause("hour")
        self.assertIsNone(self.store.recurring.next_tick(NOW + MINUTE))

    def _next(self, tick: int) -> str | None:
        due = self.store.recurring.due(NOW + tick * MINUTE)
        self.assertEqual(len([s for s in due if s.name == "s"]), 1)
        return self.fire(self.store.recurring.one("s"), NOW + tick * MINUTE)[0]


class KeepingTest(ScheduleTest):
    def test_a_name_that_is_taken(self) -> None:
        first = self.schedule()
        with self.assertRaises(Conflict):
            self.schedule(cron="0 0 * * *")
        self.assertEqual(self.store.recurring.all(), [first])
        self.schedule(cron="0 0 * * *", replace=True)
        self.assertEqual([s.cron for s in self.store.recurring.all()], ["0 0 * * *"])

    def test_one_that_is_replaced_stays_paused(self) -> None:
        self.schedule()
        self.assertTrue(self.store.recurring.pause("s"))
        self.assertFalse(self.store.recurring.pause("s"))
        self.assertEqual(self.schedule(replace=True).paused, 1)
        self.assertTrue(self.store.recurring.resume("s", NOW + 5))
        self.assertFalse(self.store.recurring.resume("s", NOW + 6))
        self.assertEqual(self.store.recurring.one("s").next_at, NOW + 5)

    def test_a_job_that_can_never_fit_is_refused_when_it_is_added(self) -> None:
        self.store.set_slots("q", ["0"])
        with self.assertRaises(UsageError):
            self.schedule(queue="q", slots=2)
        self.assertEqual(self.store.recurring.all(), [])

    def test_environments_go_with_what_uses_them_last(self) -> None:
        self.schedule(env={"A": "1"})
        self.assertEqual(self.uses(), [1])
        self.schedule("t", env={"A": "1"})
        self.assertEqual(self.uses(), [2])
        self.fire(self.store.recurring.one("s"), NOW + MINUTE)
        self.assertEqual(self.uses(), [3])
        self.schedule(replace=True, env={"A": "1"})
        self.assertEqual(self.uses(), [3])
        self.schedule(replace=True, env={"A": "2"})
        self.assertEqual(self.uses(), [2, 1])
        self.store.recurring.remove("s")
        self.store.recurring.remove("t")
        self.assertEqual(self.uses(), [1])
        self.finish(self.claim(), Kind.SUCCEEDED, exit_code=0)
        self.store.delete("1", [State.COMPLETED])
        self.assertEqual(self.uses(), [])

    def test_a_schedule_that_is_not_there(self) -> None:
        for verb in (
            self.store.recurring.one, self.store.recurring.remove, self.store.recurring.pause,
            lambda name: self.store.recurring.resume(name, None),
            lambda name: self.store.recurring.run(name, NOW),
        ):  # fmt: skip
            with self.assertRaises(NotFound):
                verb("nobody")

    def test_one_by_hand_does_not_move_the_ticks(self) -> None:
        before = self.schedule()
        self.assertEqual(self.store.recurring.run("s", NOW + 1), ("1", True))
        self.assertEqual(self.store.recurring.run("s", NOW + 2), ("2", True))
        self.assertEqual(self.store.recurring.one("s"), before)
        self.assertEqual(self.store.job("2").schedule, "s")

    def test_what_concerns_one_job_is_refused(self) -> None:
        for key, value in (
            ("id", "a"), ("delay", 5), ("at", "09:00"), ("after", ["1"]),
            ("after_finished", ["1"]), ("hold", True),
        ):  # fmt: skip
            with self.subTest(key), self.assertRaises(UsageError):
                self.schedule(**{key: value})
        self.assertEqual(set(recurring.ONCE_ONLY) - set(spec.OPTIONS), set())

    def test_every_option_of_a_job_is_kept_or_refused(self) -> None:
        """A column that an enqueue fills and a tick does not would be lost silently."""
        self.schedule()
        self.fire(self.store.recurring.one("s"), NOW + MINUTE)
        template = json.loads(self.store.recurring.one("s").template)
        kept = {*template, *recurring._NOT_IN_TEMPLATE}
        self.assertEqual(set(row()) - kept, set())


class ZoneTest(unittest.TestCase):
    def setUp(self) -> None:
        self.etc = temporary(self)

    def test_the_local_zone_is_a_name(self) -> None:
        for environ, wanted in (
            ({"TZ": "Europe/Berlin"}, "Europe/Berlin"), ({"TZ": ":Asia/Tokyo"}, "Asia/Tokyo"),
            ({"TZ": ""}, "UTC"), ({"TZ": "/usr/share/zoneinfo/Asia/Tokyo"}, "Asia/Tokyo"),
            ({}, "UTC"),
        ):  # fmt: skip
            with self.subTest(environ):
                self.assertEqual(config.local_zone(environ, str(self.etc)), wanted)

    def test_the_machines_own(self) -> None:
        (self.etc / "localtime").symlink_to("/usr/share/zoneinfo/America/Bogota")
        self.assertEqual(config.local_zone({}, str(self.etc)), "America/Bogota")
        (self.etc / "timezone").write_text("Nowhere/Real\n")
        self.assertEqual(config.local_zone({}, str(self.etc)), "America/Bogota")
        (self.etc / "timezone").write_text("Asia/Tokyo\n")
        self.assertEqual(config.local_zone({}, str(self.etc)), "Asia/Tokyo")
        self.assertEqual(config.local_zone({"TZ": "UTC"}, str(self.etc)), "UTC")

    def test_a_rule_is_no_name(self) -> None:
        with self.assertRaises(UsageError):
            config.local_zone({"TZ": "CET-1CEST,M3.5.0,M10.5.0/3"}, str(self.etc))


class CommandTest(QueueTest):
    def add(self, *words: str, **more: object) -> dict[str, object]:
        return self.box.ok("schedule", "add", "--json", *words, **more).json  # type: ignore[return-value]

    def test_the_words_may_stand_anywhere(self) -> None:
        for name, *words in (
            ("a", "a", "--cron", "@daily", "ls -l"), ("b", "b", "ls -l", "--cron", "@daily"),
            ("c", "--cron", "@daily", "c", "ls -l"),
            ("d", "--cron", "@daily", "d", "--", "ls", "-l"),
            ("e", "e", "--every", "1h", '{"command":"ls -l","priority":4}'),
            ("f", "f", "--every=1h", "-", "--queue", "q"),
        ):  # fmt: skip
            with self.subTest(name):
                found = self.add(*words, stdin=b"ls -l")
                self.assertEqual((found["name"], found["command"]), (name, "ls -l"))
        listed = self.box.ok("schedule", "list", "--json").json
        found = [(each["name"], each["queue"], each["priority"]) for each in listed]  # type: ignore[attr-defined]
        plain = [(name, "default", 0) for name in "abcd"]
        self.assertEqual(found, [*plain, ("e", "default", 4), ("f", "q", 0)])
        self.assertEqual(self.box.ok("schedule", "list", "-q").lines, list("abcdef"))

    def test_the_object_of_a_schedule(self) -> None:
        found = self.add("n", "--cron", " 0  3 * * * ", "--tz", "Europe/Berlin", "make")
        keys = ["name", "cron", "every_s", "tz", "command", "queue", "paused", "last_at", "next"]
        self.assertEqual(list(found)[:9], keys)
        wanted = ["n", "0 3 * * *", None, "Europe/Berlin", "make", "default", False, None]
        self.assertEqual([found[key] for key in keys[:8]], wanted)
        instants = [datetime.fromisoformat(str(text)) for text in found["next"]]  # type: ignore[union-attr]
        hours = {instant.astimezone(cron.zone("Europe/Berlin")).hour for instant in instants}
        self.assertEqual((len(instants), hours), (5, {3}))
        self.assertEqual(self.box.ok("schedule", "show", "n", "--json").json, found)
        self.assertIn("Europe/Berlin", self.box.ok("schedule", "show", "n").out)

    def test_the_zone_is_resolved_when_it_is_added(self) -> None:
        self.add("n", "--cron", "@daily", "true", env={"TZ": "Asia/Tokyo"})
        found = self.box.ok("schedule", "show", "n", "--json", env={"TZ": "UTC"}).json
        self.assertEqual(found["tz"], "Asia/Tokyo")  # type: ignore[index]

    def test_a_preview_stores_nothing(self) -> None:
        words = ("schedule", "add", "x", "--cron", "30 2 * * *", "--tz", "Europe/Berlin", "true")
        shown = self.box.ok(*words, "--preview", "400").lines
        self.assertEqual(len(shown), 400)
        gap = [text for text in shown if "T02:30:00" not in text]
        self.assertEqual({text[11:] for text in gap}, {"03:00:00+02:00"})
        as_json = self.box.ok(*words, "--preview", "400", "--json").json
        self.assertEqual(
            [datetime.fromisoformat(text) for text in as_json],  # type: ignore[attr-defined]
            [datetime.fromisoformat(text) for text in shown],
        )
        every = self.box.ok("schedule", "add", "--every", "1h", "--preview", "3")
        self.assertEqual(len(every.lines), 3)
        self.assertFalse(self.box.db.exists())

    def test_bad_input_is_one_line_and_stores_nothing(self) -> None:
        daily = ("--cron", "@daily")
        for *words, said in (
            ("x", "--cron", "0 0 30 2 *", "true", "never fires"),
            ("x", "--cron", "61 * * * *", "true", "minute takes 0-59"),
            ("x", "--cron", "@reboot", "true", "@hourly"),
            ("x", "--cron", "", "true", "five fields"),
            ("x", *daily, "--tz", "Mars/Base", "true", "Mars/Base"),
            ("x", *daily, "--tz", "../../etc/passwd", "true", "no zone"),
            ("x", "--every", "9999999999d", "true", "too long"),
            ("x", "--every", "99999999999999999999", "true", "--every"),
            ("x", "--every", "0", "true", "--every"), ("x", "--every", "0.5s", "true", "1s"),
            ("x", "--every", "-5", "true", "--every"), ("x", "--every", "soon", "true", "--every"),
            ("x", "true", "missing"), ("x", *daily, "--every", "1h", "true", "--every"),
            ("x", *daily, "no command"), (*daily, "no name"), ("x", *daily, " ", "empty"),
            ("x", *daily, "ls", "-l", "quote"), ("x", *daily, "ls", "tmp", "quote"),
            ("../x", *daily, "true", "no name"), ("-x", *daily, "true", "-x"),
            ("x", *daily, "--overlap", "maybe", "true", "skip, queue"),
            ("x", *daily, "--catchup", "all", "true", "none, once"),
            ("x", *daily, "--id", "a", "true", "--id"),
            ("x", *daily, "--at", "9:00", "true", "--at"),
            ("x", *daily, '{"command":"a","id":"b"}', "no id"),
            ("x", *daily, '{"command":"a","hold":true}', "no hold"),
            ("x", *daily, "--timeout", "never", "true", "--timeout"),
            ("x", *daily, "--preview", "0", "true", "--preview"),
            ("x", *daily, "--preview", "99999999", "true", "--preview"),
            ("x", *daily, "--", "", "empty"), ("x", *daily, "a", "--", "b", "before --"),
        ):  # fmt: skip
            with self.subTest(words):
                result = self.box.run("schedule", "add", *words)
                self.assertEqual((result.code, result.out), (2, ""), result)
                self.assertEqual(result.err.count("\n"), 1, result)
                self.assertIn(said, result.err)
        self.assertEqual(self.box.ok("schedule", "list", "--json").json, [])
        result = self.box.run("schedule", "add", "x", "true", *daily, env={"TZ": "CET-1CEST"})
        self.assertEqual((result.code, result.err.count("\n")), (2, 1), result)

    def test_the_verbs(self) -> None:
        self.add("n", "--cron", "@daily", "true")
        box = self.box
        self.assertEqual(box.run("schedule", "add", "n", "--every", "1h", "true").code, 5)
        self.assertEqual(self.add("n", "--every", "1h", "true", "--replace")["every_s"], 3600)
        self.assertEqual(box.ok("schedule", "pause", "n").out, "Paused schedule n.\n")
        self.assertIn("paused already", box.ok("schedule", "pause", "n").err)
        self.assertEqual(box.ok("schedule", "show", "n", "--json").json["next"], [])  # type: ignore[index]
        self.assertIn("paused", box.ok("schedule", "list").out)
        found = box.ok("schedule", "resume", "n", "--json").json[0]  # type: ignore[index]
        self.assertEqual((found["paused"], len(found["next"])), (False, 5))
        self.assertIn("is not paused", box.ok("schedule", "resume", "n").err)
        job_id = box.ok("schedule", "run", "n").out.strip()
        self.assertEqual(box.job(job_id)["command"], "true")
        both = box.run("schedule", "remove", "nobody", "n")
        self.assertEqual((both.code, both.out), (3, "Removed schedule n.\n"))
        for verb in ("show", "remove", "pause", "resume", "run"):
            self.assertEqual(box.run("schedule", verb, "n").code, 3)
        self.assertEqual(box.run("schedule", "list", "--", "x").code, 2)

    def test_it_says_where_nobody_will_fire(self) -> None:
        words = ("schedule", "add", "--cron", "@daily", "--replace", "n", "true")
        self.assertIn("no worker pool is alive", self.box.ok(*words).err)
        self.box.ok("worker", "start", "--queue", "other")
        self.assertIn("no worker serves the queue default", self.box.ok(*words).err)
        self.assertEqual(self.box.ok(*words, "--queue", "other").err, "")

    def test_a_pool_fires_what_its_queue_is_not_and_idle_workers_wake(self) -> None:
        place = self.box.dir / "elsewhere"
        place.mkdir()
        line = 'echo "$PWD $COLOUR $(umask)" >> ../ledger'
        self.box.ok("config", "set", "poll-interval", "10m")  # only a ring wakes them in time
        self.box.ok("worker", "start", "--queue", "other")
        self.box.ok("worker", "start", "--queue", "mine")
        self.addCleanup(os.umask, os.umask(0o027))
        self.add("n", "--every", "1s", "--queue", "mine", line, env={"COLOUR": "red"}, cwd=place)
        wait_for(lambda: len(self.box.ledger()) >= 2, "two ticks")
        self.assertEqual(set(self.box.ledger()), {f"{place.resolve()} red 0027"})


if __name__ == "__main__":
    unittest.main()
