"""Bringing a file to the newest schema: all or nothing, and once, whoever opens it."""

from __future__ import annotations

import os
import signal
import sqlite3
import unittest
from collections.abc import Iterator
from contextlib import closing
from unittest import mock

from queuectl.errors import QueueError, Refused
from queuectl.place import Place
from queuectl.storage import Storage, migrate
from tests.store import NOW, all_at_once, row, temporary

NEXT = migrate.VERSION + 1
GOOD = "CREATE TABLE fresh (n INTEGER);\nINSERT INTO fresh SELECT count(*) FROM job;\n"
BAD = GOOD + "CREATE TABLE job (n);\n"


def with_next(script: str) -> mock._patch_dict:  # type: ignore[name-defined]
    """Make one more migration the newest."""
    scripts = [*migrate._scripts(), (NEXT, script)]
    return mock.patch.multiple(migrate, VERSION=NEXT, _scripts=lambda: scripts)


def _schema(path: str) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(path)) as db:
        return db.execute("SELECT name, sql FROM sqlite_master ORDER BY name").fetchall()


class MigrateTest(unittest.TestCase):
    def setUp(self) -> None:
        self.place = Place(str(temporary(self) / "q.db"))

    def old_file(self) -> None:
        """Make a file of today's schema, with a job."""
        with closing(Storage(self.place)) as store:
            store.insert([row()], NOW)

    def ask(self, question: str) -> object:
        with closing(sqlite3.connect(self.place.db)) as db:
            return db.execute(question).fetchone()[0]

    def test_a_new_file_gets_every_migration(self) -> None:
        with with_next(GOOD), closing(Storage(self.place)):
            pass
        self.assertEqual(self.ask("PRAGMA user_version"), NEXT)
        self.assertEqual(self.ask("SELECT n FROM fresh"), 0)

    def test_an_old_file_gets_what_it_lacks_and_keeps_its_jobs(self) -> None:
        self.old_file()
        with with_next(GOOD), closing(Storage(self.place)) as store:
            self.assertEqual(store.job("1").command, "true")
        self.assertEqual(self.ask("PRAGMA user_version"), NEXT)
        self.assertEqual(self.ask("SELECT n FROM fresh"), 1)

    def test_a_file_of_each_earlier_version_becomes_like_a_new_one(self) -> None:
        self.old_file()
        new, every = _schema(self.place.db), migrate._scripts()
        for have in range(1, migrate.VERSION):
            with self.subTest(have=have):
                self.place = Place(str(temporary(self) / "q.db"))
                scripts = every[:have]
                with mock.patch.multiple(
                    migrate,
                    VERSION=have,
                    _scripts=lambda: scripts,  # noqa: B023
                ):
                    self.old_file()
                with closing(Storage(self.place)) as store:
                    self.assertEqual(store.job("1").command, "true")
                self.assertEqual(_schema(self.place.db), new)
                self.assertEqual(self.ask("PRAGMA integrity_check"), "ok")

    def test_a_migration_that_fails_leaves_the_old_file(self) -> None:
        self.old_file()
        with with_next(BAD), self.assertRaises(QueueError):
            Storage(self.place)
        self.assertEqual(self.ask("PRAGMA user_version"), NEXT - 1)
        self.assertEqual(self.ask("SELECT count(*) FROM sqlite_master WHERE name = 'fresh'"), 0)
        with closing(Storage(self.place)) as store:
            self.assertEqual(store.job("1").state, "pending")

    def test_a_first_migration_that_is_killed_leaves_an_empty_file(self) -> None:
        first = migrate._scripts()[0]

        def scripts() -> Iterator[tuple[int, str]]:
            yield first
            os.kill(os.getpid(), signal.SIGKILL)

        def killed() -> None:
            with mock.patch.object(migrate, "_scripts", scripts):
                Storage(self.place)

        self.assertEqual(all_at_once(1, killed), [-signal.SIGKILL])
        self.assertEqual(self.ask("SELECT count(*) FROM sqlite_master"), 0)
        self.old_file()
        self.assertEqual(self.ask("SELECT count(*) FROM job"), 1)

    def test_eight_clients_at_once_migrate_once(self) -> None:
        self.old_file()
        # A second run of it would fail: the table is there.
        with with_next(GOOD):
            self.assertEqual(all_at_once(8, lambda: Storage(self.place).close()), [0] * 8)
        self.assertEqual(self.ask("SELECT count(*) FROM fresh"), 1)

    def test_eight_clients_at_once_create_one_file(self) -> None:
        def enqueue() -> None:
            with closing(Storage(self.place)) as store:
                store.insert([row()], NOW)

        self.assertEqual(all_at_once(8, enqueue), [0] * 8)
        self.assertEqual(self.ask("SELECT count(*) FROM job"), 8)
        self.assertEqual(self.ask("PRAGMA integrity_check"), "ok")

    def test_a_newer_file_is_refused_untouched(self) -> None:
        with with_next(GOOD):
            self.old_file()
        with open(self.place.db, "rb") as file:
            before = file.read()
        with self.assertRaises(Refused) as caught:
            Storage(self.place)
        self.assertIn(f"schema {NEXT}", str(caught.exception))
        with open(self.place.db, "rb") as file:
            self.assertEqual(file.read(), before)

    def test_the_scripts_are_numbered_without_a_gap(self) -> None:
        numbers = [number for number, _ in migrate._scripts()]
        self.assertEqual(numbers, list(range(1, migrate.VERSION + 1)))


if __name__ == "__main__":
    unittest.main()
