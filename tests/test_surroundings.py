"""Whatever surrounds the process: closed or full descriptors, no home, no locale, any umask."""

from __future__ import annotations

import os
import stat
import unittest
from pathlib import Path

from tests.support import QueueTest, Result


class SurroundingsTest(QueueTest):
    def shell(self, script: str, *words: str, **more: object) -> Result:
        """Call queuectl from a shell script, in which it is "$@"."""
        command = self.box.command(*words)
        self.box.command = lambda *_: ["sh", "-c", script, "sh", *command]  # type: ignore[method-assign]
        try:
            return self.box.run(**more)  # type: ignore[arg-type]
        finally:
            del self.box.command

    def rows(self) -> int:
        return len(self.box.ok("list", "-q").lines)

    def assert_plain(self, result: Result, code: int) -> None:
        self.assertEqual(result.code, code, result)
        self.assertNotIn("Traceback", result.err + result.out)
        self.assertLessEqual(result.err.count("\n"), 1, result)

    def test_closed_and_full_descriptors(self) -> None:
        for rows, (script, words, code) in enumerate(
            (
                ('"$@" <&-', ("enqueue", "-q", "true"), 0),
                ('"$@" >&-', ("enqueue", "-q", "true"), 1),  # the id was lost, the row was not
                ('"$@" >/dev/full', ("enqueue", "-q", "true"), 1),
                ('"$@" >/dev/full', ("enqueue", "-q", "--json", "true"), 1),
                ('"$@" 2>&-', ("enqueue", "true"), 0),
                ('"$@" 2>/dev/full', ("enqueue", "true"), 0),
                ('"$@" <&- >&- 2>&-', ("enqueue", "true"), 1),
            ),
            start=1,
        ):
            with self.subTest(script):
                self.assert_plain(self.shell(script, *words), code)
                self.assertEqual(self.rows(), rows)
        for script, words, code in (
            ('"$@" <&-', ("enqueue", "-"), 2),
            ('"$@" <&-', ("dlq", "purge", "--all"), 0),
            ('"$@" >/dev/full', ("list",), 1),
            ('"$@" >&-', ("list",), 1),
            ('"$@" >&- 2>&-', ("show", "nosuch"), 3),
            ('"$@" >/dev/full', ("--help",), 1),
            ('"$@" | true', ("list", "--all"), 0),
        ):
            with self.subTest(script=script, words=words):
                self.assert_plain(self.shell(script, *words), code)
        self.assertEqual(self.rows(), 7)

    def test_a_worker_without_descriptors(self) -> None:
        job_id = self.box.enqueue("echo out; echo err >&2; cat; echo end")
        self.assert_plain(self.shell('"$@" <&- >&- 2>&-', "worker", "run", "--burst"), 0)
        self.assertEqual(self.box.state_of(job_id), "completed")
        self.assertEqual(self.box.log(job_id), b"out\nerr\nend\n")

    def test_a_database_is_no_standard_stream(self) -> None:
        """With 0-2 closed, what is written to stderr must not end up in the database."""
        self.box.enqueue("true")
        self.shell('"$@" <&- >&- 2>&-', "show", "nosuch")
        self.shell('"$@" <&- >&- 2>&-', "list")
        self.assertEqual(self.rows(), 1)
        self.assertTrue(self.box.db.read_bytes().startswith(b"SQLite format 3\0"))

    def test_an_old_locale(self) -> None:
        bare = {"LC_ALL": "C", "LANG": "C"}
        job_id = self.box.enqueue("echo ä€\u2028", "--label", "ü", env=bare)
        job = self.box.job(job_id)
        self.assertEqual((job["command"], job["label"]), ("echo ä€\u2028", "ü"))
        self.assert_plain(self.box.run("list", env=bare), 0)
        very_bare = {**bare, "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
        self.assert_plain(self.box.run("enqueue", "echo ö", "-q", env=very_bare), 2)
        for view in (("list",), ("show", job_id)):
            result = self.box.run(*view, env=very_bare)
            self.assert_plain(result, 0)
            self.assertIn("echo \\xe4\\u20ac\\u2028", result.out)

    def test_no_home_to_be_had(self) -> None:
        base = {key: value for key, value in self.box.env.items() if key != "QUEUECTL_DB"}
        a_file = self.box.dir / "file"
        a_file.write_text("")
        for home, code in (
            (None, 2),
            ("", 2),
            ("relative", 2),
            (str(self.box.dir / "missing"), 1),
            (f"{a_file}/below", 1),
            ("/proc", 1),
        ):
            with self.subTest(home=home):
                self.box.env = {**base, **({} if home is None else {"HOME": home})}
                if home is None:
                    del self.box.env["HOME"]
                self.assert_plain(self.box.run("enqueue", "true"), code)
                if home:
                    self.assertFalse(os.path.exists(os.path.join(home, ".queuectl.db")))
        self.box.env = {**base, "QUEUECTL_DB": str(self.box.db)}
        del self.box.env["HOME"]
        self.box.enqueue("true")  # it needs none where the database has a name

    def test_modes_under_any_umask(self) -> None:
        for mask in ("000", "077"):
            with self.subTest(umask=mask):
                db, state = self.box.dir / f"m{mask}.db", self.box.dir / f"m{mask}"
                env = {"QUEUECTL_DB": str(db)}
                witness = self.box.dir / f"umask{mask}"
                run = f'umask {mask}; "$@"'
                job = self.shell(run, "enqueue", "-q", f"umask > {witness}", env=env)
                self.assert_plain(job, 0)
                private_to_be = [db, Path(f"{db}-wal"), Path(f"{db}-shm")]
                self.assertEqual(
                    {path.name: _mode(path) for path in private_to_be if _mode(path) != 0o600}, {}
                )
                self.assert_plain(self.shell(run, "worker", "run", "--burst", "-q", env=env), 0)
                for path in [state, *state.rglob("*")]:
                    wanted = 0o700 if path.is_dir() else 0o600
                    self.assertEqual(oct(_mode(path)), oct(wanted), path)
                self.assertTrue((state / "logs" / "1.log").exists())
                self.assertEqual(int(witness.read_text(), 8), int(mask, 8))


def _mode(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


if __name__ == "__main__":
    unittest.main()
