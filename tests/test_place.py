"""Contract 1: where everything is, and what is refused, untouched, because it is not ours."""

from __future__ import annotations

import os
import socket
import sqlite3
import unittest
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from unittest import mock

from queuectl import logs, place
from queuectl.errors import Refused
from queuectl.place import MARKER, Place, open_state
from queuectl.storage import Storage
from tests.calls import CallTest, call
from tests.store import NOW, StoreTest, all_at_once, row

AS_ROOT = os.geteuid() == 0
STRANGER = 12_345


def snapshot(folder: Path) -> dict[str, object]:
    """Give everything below a directory: kind, mode, owner and content."""
    found: dict[str, object] = {}
    for path in sorted([folder, *folder.rglob("*")]):
        status = path.lstat()
        content = path.read_bytes() if path.is_file() and not path.is_symlink() else None
        key = str(path.relative_to(folder))
        found[key] = (status.st_mode, status.st_uid, status.st_nlink, content)
    return found


class PathsTest(CallTest):
    """Which file it is."""

    def path_of(self, *words: str, env: dict[str, str] | None = None) -> tuple[str, str]:
        """Enqueue; give the database and the state directory that came of it."""
        before = set(self.dir.rglob("*"))
        self.assertEqual(call(*words, "enqueue", "-q", "true", env=env or {}).code, 0)
        fresh = set(self.dir.rglob("*")) - before
        (state,) = [path for path in fresh if path.is_dir() and (path / MARKER).exists()]
        dbs = [path for path in fresh if path.is_file() and path.name[-4:] not in ("-wal", "-shm")]
        (db,) = [path for path in dbs if path.parent != state]
        self.assertEqual((state / MARKER).read_text(), db.name)
        return str(db.relative_to(self.dir)), str(state.relative_to(self.dir))

    def test_the_flag_then_the_variable_then_the_home(self) -> None:
        home = self.dir / "home"
        home.mkdir()
        env = {"HOME": str(home), "QUEUECTL_DB": str(self.dir / "variable.db")}
        flag = ("--db", str(self.dir / "flag.db"))
        self.assertEqual(self.path_of(*flag, env=env), ("flag.db", "flag"))
        self.assertEqual(self.path_of(env=env), ("variable.db", "variable"))
        unset = {**env, "QUEUECTL_DB": ""}
        self.assertEqual(self.path_of(env=unset), ("home/.queuectl.db", "home/.queuectl"))

    def test_the_flag_works_after_the_command_too(self) -> None:
        self.assertEqual(self.call("enqueue", "true", "--db", str(self.dir / "z.db")).code, 0)
        self.assertTrue((self.dir / "z.db").exists())

    def test_names(self) -> None:
        for name, state in (
            ("build.db", "build"),
            ("plain", "plain.d"),
            ("q.sqlite", "q.sqlite.d"),
            (".db", ".db.d"),
            (".x.db", ".x"),
            ("a b.db", "a b"),
            ("ä?%41#.db", "ä?%41#"),
            ("two.db.db", "two.db"),
        ):
            with self.subTest(name):
                self.assertEqual(self.path_of("--db", str(self.dir / name)), (name, state))

    def test_a_relative_path_is_one_from_here(self) -> None:
        (self.dir / "sub").mkdir()
        here = os.getcwd()
        self.addCleanup(os.chdir, here)
        os.chdir(self.dir / "sub")
        self.assertEqual(self.path_of("--db", "../rel.db"), ("rel.db", "rel"))

    def test_symlinks_are_resolved_before_anything_is_derived(self) -> None:
        real, link = self.dir / "real", self.dir / "link"
        real.mkdir()
        link.symlink_to(real)
        self.assertEqual(self.path_of("--db", str(link / "a.db")), ("real/a.db", "real/a"))
        (self.dir / "alias.db").symlink_to(real / "a.db")
        said = call("--db", str(self.dir / "alias.db"), "list", "-q")
        self.assertEqual(said.lines, ["1"])
        self.assertFalse((self.dir / "alias").exists())
        (self.dir / "dangling.db").symlink_to(real / "b.db")
        dangling = str(self.dir / "dangling.db")
        self.assertEqual(self.path_of("--db", dangling), ("real/b.db", "real/b"))

    def test_modes(self) -> None:
        self.path_of("--db", str(self.dir / "m.db"))
        for name, mode in (("m.db", 0o100600), ("m", 0o40700), (f"m/{MARKER}", 0o100600)):
            self.assertEqual(oct((self.dir / name).stat().st_mode), oct(mode), name)

    def test_an_empty_file_that_was_there_is_made_ours(self) -> None:
        (self.dir / "q.db").touch(0o644)
        self.enqueue("true")
        self.assertEqual((self.dir / "q.db").stat().st_mode & 0o777, 0o600)

    def test_an_empty_directory_and_an_early_one_are_adopted(self) -> None:
        for name, below in (("empty", None), ("early", "logs")):
            with self.subTest(name):
                (self.dir / name).mkdir(0o755)
                if below:
                    (self.dir / name / below).mkdir()
                self.assertEqual(call("--db", f"{self.dir}/{name}.db", "enqueue", "true").code, 0)
                self.assertEqual((self.dir / name).stat().st_mode & 0o777, 0o700)
                self.assertTrue((self.dir / name / MARKER).exists())

    def test_eight_clients_create_one_queue(self) -> None:
        def enqueue() -> None:
            assert call("enqueue", "-q", "true").code == 0

        self.assertEqual(all_at_once(8, enqueue), [0] * 8)
        self.assertEqual(sorted(self.ok("list", "-q").lines), list("12345678"))
        self.assertEqual(os.listdir(self.place.state), [MARKER])


class RefusedTest(CallTest):
    """Not ours, or not safe: one line, exit 1, and nothing has changed."""

    def make(self) -> None:
        """Make a queue with a job, closed, so that it is one file."""
        self.enqueue("true")

    def refused(self, text: str) -> None:
        before = snapshot(self.dir)
        looking = () if self.place.is_empty() else (("list",),)
        for words in (("enqueue", "true"), *looking):
            said = self.call(*words)
            self.assertEqual((said.code, said.out, said.err.count("\n")), (1, "", 1), said)
            self.assertIn(text, said.err)
            self.assertEqual(snapshot(self.dir), before)

    def test_what_stands_in_the_place_of_the_database(self) -> None:
        db = Path(self.place.db)

        def listen() -> None:
            self.enterContext(closing(socket.socket(socket.AF_UNIX))).bind(str(db))

        cases: tuple[tuple[str, Callable[[], object], str], ...] = (
            ("a directory", db.mkdir, "is not a file"),
            ("a FIFO", lambda: os.mkfifo(db), "is not a file"),
            ("a socket", listen, "is not a file"),
            ("a text", lambda: db.write_text("dear diary\n" * 100), "not a sound database"),
            ("a short text", lambda: db.write_text("dear"), "not a sound database"),
            ("zeros", lambda: db.write_bytes(bytes(8192)), "not a sound database"),
        )
        for name, plant, text in cases:
            with self.subTest(name):
                plant()
                if db.is_file():
                    db.chmod(0o600)
                self.refused(text)
                db.rmdir() if db.is_dir() else db.unlink()

    def test_another_programs_database(self) -> None:
        for script in (
            "CREATE TABLE photos (id)",
            "PRAGMA application_id = 7",
            "PRAGMA user_version = 3",
            "PRAGMA journal_mode = WAL; CREATE TABLE photos (id)",
        ):
            with self.subTest(script):
                with closing(sqlite3.connect(self.place.db)) as db:
                    db.executescript(script)
                os.chmod(self.place.db, 0o600)
                self.refused("not one of queuectl's")
                os.unlink(self.place.db)

    def test_a_newer_schema(self) -> None:
        self.make()
        with closing(sqlite3.connect(self.place.db)) as db:
            db.execute("PRAGMA user_version = 99")
        self.refused("schema 99")

    def test_a_database_that_others_could_write(self) -> None:
        self.make()
        for mode in (0o620, 0o602, 0o666):
            with self.subTest(oct(mode)):
                os.chmod(self.place.db, mode)
                self.refused("can be written by others")

    def test_a_state_directory_that_others_could_write(self) -> None:
        self.make()
        for mode in (0o720, 0o702, 0o777):
            with self.subTest(oct(mode)):
                os.chmod(self.place.state, mode)
                self.refused("can be written by others")

    def test_a_hard_link(self) -> None:
        self.make()
        os.link(self.place.db, self.dir / "other name")
        self.refused("2 hard links")

    @unittest.skipUnless(AS_ROOT, "only root can give a file away")
    def test_another_owner(self) -> None:
        self.make()
        for path in (self.place.db, self.place.state):
            with self.subTest(path):
                os.chown(path, STRANGER, -1)
                self.refused(f"belongs to another user (uid {STRANGER})")
                os.chown(path, os.geteuid(), -1)
        self.ok("list")

    def test_a_directory_that_is_not_ours(self) -> None:
        state = Path(self.place.state)
        state.mkdir(0o755)
        (state / "thesis.txt").write_text("do not lose")
        self.refused("was not made by queuectl")
        (state / "logs").mkdir()
        self.refused("was not made by queuectl")

    def test_the_directory_of_another_database(self) -> None:
        self.assertEqual(call("--db", f"{self.dir}/x.d.db", "enqueue", "true").code, 0)
        before = snapshot(self.dir)
        said = call("--db", f"{self.dir}/x", "enqueue", "true")  # its state would be x.d, too
        self.assertEqual(said.code, 1)
        self.assertIn("belongs to another database, 'x.d.db'", said.err)
        self.assertEqual(snapshot(self.dir), before)

    def test_what_stands_in_the_place_of_the_directory(self) -> None:
        state = Path(self.place.state)
        elsewhere = self.dir / "elsewhere"
        elsewhere.mkdir()
        for name, plant in (
            ("a file", lambda: state.write_text("x")),
            ("a symlink", lambda: state.symlink_to(elsewhere)),
            ("a FIFO", lambda: os.mkfifo(state)),
        ):
            with self.subTest(name):
                plant()
                self.refused("is in the way" if name != "a symlink" else str(state))
                state.unlink()

    def test_a_marker_that_is_a_symlink(self) -> None:
        self.make()
        marker = Path(self.place.state) / MARKER
        marker.unlink()
        marker.symlink_to("q.db")
        self.refused("belongs to another database")

    def test_a_network_file_system(self) -> None:
        with mock.patch.object(place, "file_system", return_value="nfs4"):
            self.refused("network file system (nfs4)")
        self.make()
        with (
            mock.patch.object(place, "file_system", return_value="cifs"),
            mock.patch.object(os, "major", return_value=0),
        ):
            self.refused("network file system (cifs)")

    def test_a_place_where_nothing_can_be_made(self) -> None:
        for path in ("/dev/null/x/q.db", "/proc/q.db", "/nonexistent/q.db", "/dev/null"):
            with self.subTest(path):
                said = call("--db", path, "enqueue", "true")
                self.assertEqual((said.code, said.out, said.err.count("\n")), (1, "", 1), said)


class MountsTest(unittest.TestCase):
    def test_the_innermost_mount_counts(self) -> None:
        from tests.store import temporary

        table = temporary(self) / "mountinfo"
        table.write_text(
            "1 0 8:1 / / rw - ext4 /dev/sda1 rw\n"
            "2 1 0:9 / /srv rw shared:1 - nfs4 host:/x rw\n"
            "3 2 8:2 / /srv/my\\040disk\\134 rw master:1 - xfs /dev/sdb rw\n"
            "4 1 0:9 / /ä rw - cifs //host/x rw\n",
            encoding="utf-8",
        )
        for folder, kind in (
            ("/", "ext4"), ("/home/me", "ext4"), ("/srv", "nfs4"), ("/srv/q", "nfs4"),
            ("/srvx", "ext4"), ("/srv/my disk\\", "xfs"), ("/srv/my disk\\/q", "xfs"),
            ("/ä/q", "cifs"),
        ):  # fmt: skip
            with self.subTest(folder):
                self.assertEqual(place.file_system(folder, str(table)), kind)
        self.assertIsNone(place.file_system("/", "/nonexistent"))


class RemovedTest(CallTest):
    """`rm ~/.queuectl.db`, as demo scripts do it."""

    def test_left_side_files_do_not_harm_the_next_queue(self) -> None:
        self.enqueue("echo first")
        opened, told = os.pipe()
        gate, opener = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(opener)
            holder = Storage(self.place)
            os.write(told, b"!")
            os.read(gate, 1)
            os._exit(holder is None)
        os.read(opened, 1)
        self.addCleanup(os.waitpid, child, 0)
        self.addCleanup(os.close, opener)
        self.enqueue("echo old")
        side = {end: os.stat(self.place.db + end).st_ino for end in ("-wal", "-shm")}
        os.unlink(self.place.db)
        with self.store() as store:
            self.assertEqual(store.insert([row()], NOW), [("1", True)])
            for end, inode in side.items():  # not those of whoever has the removed file open
                self.assertNotEqual(os.stat(self.place.db + end).st_ino, inode)
        self.assertEqual(self.ok("list", "-q").lines, ["1"])
        with closing(sqlite3.connect(self.place.db)) as db:
            self.assertEqual(db.execute("PRAGMA integrity_check").fetchone()[0], "ok")

    def test_garbage_as_side_files(self) -> None:
        for end in ("-wal", "-shm"):
            Path(self.place.db + end).write_bytes(os.urandom(5_000))
        self.enqueue("true")
        self.assertEqual(self.ok("list", "-q").lines, ["1"])

    def test_the_state_directory_may_go_alone(self) -> None:
        self.enqueue("true")
        os.unlink(os.path.join(self.place.state, MARKER))
        os.rmdir(self.place.state)
        self.assertEqual(self.enqueue("true"), "2")


class LogTest(StoreTest):
    """What stands in the place of a log."""

    def setUp(self) -> None:
        super().setUp()
        self.add(now=1)
        self.job = self.claim(now=1)
        os.mkdir(self.place.logs, 0o700)
        self.path = Path(self.place.log(self.job.id))

    def test_what_is_no_log_of_ours_is_refused_untouched(self) -> None:
        target = self.dir / "target"
        target.write_text("precious")
        reader = -1
        for name, plant in (
            ("a symlink", lambda: self.path.symlink_to(target)),
            ("a dangling symlink", lambda: self.path.symlink_to(self.dir / "nowhere")),
            ("a hard link", lambda: self.path.hardlink_to(target)),
            ("a FIFO", lambda: os.mkfifo(self.path)),
            ("a FIFO that is read", lambda: os.mkfifo(self.path)),
            ("a directory", self.path.mkdir),
        ):
            with self.subTest(name):
                plant()
                if name.endswith("read"):
                    reader = os.open(self.path, os.O_RDONLY | os.O_NONBLOCK)
                with self.assertRaises(Refused):
                    os.close(logs.open_for_run(self.place, self.job)[0])
                self.assertEqual(target.read_text(), "precious")
                self.path.rmdir() if self.path.is_dir() else self.path.unlink()
        os.close(reader)
        self.assertFalse((self.dir / "nowhere").exists())

    @unittest.skipUnless(AS_ROOT, "only root can give a file away")
    def test_another_owner(self) -> None:
        self.path.write_text("x")
        os.chown(self.path, STRANGER, -1)
        with self.assertRaises(Refused):
            logs.open_for_run(self.place, self.job)

    def test_an_older_files_log_is_moved_aside(self) -> None:
        for number in (1, 2):
            self.path.write_text(f"old {number}")
            fd, start = logs.open_for_run(self.place, self.job)
            os.close(fd)
            self.assertEqual((start, self.path.read_text()), (0, ""))
            self.assertEqual(Path(f"{self.path}.{number}").read_text(), f"old {number}")

    def test_a_new_log_is_private_and_an_old_one_becomes_so(self) -> None:
        os.rmdir(self.place.logs)
        previous = os.umask(0)
        self.addCleanup(os.umask, previous)
        os.close(logs.open_for_run(self.place, self.job)[0])
        self.assertEqual(os.stat(self.place.logs).st_mode & 0o777, 0o700)
        self.assertEqual(self.path.stat().st_mode & 0o777, 0o600)
        self.path.chmod(0o644)
        os.close(logs.open_for_run(self.place, self.job)[0])
        self.assertEqual(self.path.stat().st_mode & 0o777, 0o600)


class MarkerTest(unittest.TestCase):
    def test_a_draft_that_was_killed_is_in_nobodys_way(self) -> None:
        from tests.store import temporary

        here = Place(str(temporary(self) / "q.db"))
        os.mkdir(here.state, 0o700)
        Path(here.state, MARKER + ".999").write_text("q.")
        os.close(open_state(here))
        self.assertEqual(Path(here.state, MARKER).read_text(), "q.db")


if __name__ == "__main__":
    unittest.main()
