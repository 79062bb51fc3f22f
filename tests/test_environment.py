"""The environment, the directory and the umask that a job keeps from where it was enqueued."""

from __future__ import annotations

import json
import os
import unittest

from queuectl.lifecycle import State
from tests.calls import CallTest
from tests.store import StoreTest
from tests.support import QueueTest


class KeptTest(CallTest):
    def kept(self, *words: str, **env: str) -> dict[bytes, bytes]:
        """Enqueue with these variables set; give the environment that was stored."""
        job_id = self.enqueue(*words, "true", env=env)
        with self.store() as store:
            stored = store.environment(store.job(job_id).env)
        return dict(entry.split(b"=", 1) for entry in stored.split(b"\0") if entry)

    def test_all_of_it_without_the_terminal_session(self) -> None:
        kept = self.kept(KEEP="1", TERM="xterm", COLUMNS="80", TMUX="x", SSH_TTY="x", _="x")
        self.assertEqual(kept[b"KEEP"], b"1")
        self.assertEqual(kept[b"PATH"], os.environb[b"PATH"])
        self.assertFalse({b"TERM", b"COLUMNS", b"TMUX", b"SSH_TTY", b"_", b"OLDPWD"} & set(kept))

    def test_not_what_belongs_to_the_job_that_enqueues(self) -> None:
        kept = self.kept(QUEUECTL_JOB_ID="7", QUEUECTL_JOB_RUN="1", QUEUECTL_JOB_SLOTS="0")
        self.assertFalse([name for name in kept if name.startswith(b"QUEUECTL_JOB_")])

    def test_only_what_capture_env_names(self) -> None:
        self.ok("config", "set", "capture-env", "KEEP, HOME,MISSING")
        self.assertEqual(self.kept(KEEP="1", DROP="2", HOME="/h"), {b"KEEP": b"1", b"HOME": b"/h"})

    def test_env_adds_and_replaces(self) -> None:
        kept = self.kept(
            "--env", "NEW=1", "--env", "KEEP=new", "--env", "EMPTY=", "--env", "SIGN=a=b=c",
            KEEP="old",
        )  # fmt: skip
        self.assertEqual(kept[b"NEW"], b"1")
        self.assertEqual(kept[b"KEEP"], b"new")
        self.assertEqual(kept[b"EMPTY"], b"")
        self.assertEqual(kept[b"SIGN"], b"a=b=c")

    def test_env_takes_from_the_caller(self) -> None:
        self.ok("config", "set", "capture-env", "HOME")
        kept = self.kept("--env", "TERM", "--env", "MISSING", "--env", "KEEP", TERM="vt", KEEP="1")
        self.assertEqual(
            {k: kept[k] for k in kept if k != b"HOME"}, {b"TERM": b"vt", b"KEEP": b"1"}
        )

    def test_bytes_that_are_no_text_are_kept(self) -> None:
        raw = os.fsdecode(b"\xff\n\xe4")
        self.assertEqual(self.kept(RAW=raw)[b"RAW"], b"\xff\n\xe4")

    def test_one_that_no_program_could_start_with_is_refused(self) -> None:
        said = self.call("enqueue", "true", env={"BIG": "x" * 131_072})
        self.assertEqual(said.code, 2)
        self.assertIn("environment is too large", said.err)

    def test_it_is_never_shown(self) -> None:
        job_id = self.enqueue("--env", "PASSWORD=hunter2", "true", env={"TOKEN": "s3cr3t"})
        for words in (("show", job_id), ("show", job_id, "--json"), ("list", "--json"), ("list",)):
            said = self.ok(*words)
            self.assertNotIn("hunter2", said.out + said.err)
            self.assertNotIn("s3cr3t", said.out + said.err)

    def test_the_directory(self) -> None:
        here = os.getcwd()
        self.addCleanup(os.chdir, here)
        sub = self.dir / "sub dir"
        sub.mkdir()
        os.chdir(sub)
        for words, wanted in (
            ((), sub),
            (("--cwd", ".."), self.dir),
            (("--cwd", "../x/./y"), self.dir / "x" / "y"),
            (("--cwd", "/"), "/"),
        ):
            with self.subTest(words):
                job_id = self.enqueue(*words, "true")
                cwd = json.loads(self.ok("show", job_id, "--json").out)["cwd"]
                self.assertEqual(cwd, str(wanted))
        sub.rmdir()
        said = self.call("enqueue", "true")
        self.assertEqual((said.code, said.err.count("\n")), (2, 1))
        self.assertIn("--cwd", said.err)
        os.chdir(self.dir)

    def test_the_umask(self) -> None:
        before = os.umask(0o027)
        self.addCleanup(os.umask, before)
        job_id = self.enqueue("true")
        self.assertEqual(os.umask(0o027), 0o027)
        with self.store() as store:
            self.assertEqual(store.job(job_id).umask, 0o027)


class StoredOnceTest(StoreTest):
    def rows(self) -> list[int]:
        return [uses for (uses,) in self.db().execute("SELECT uses FROM environment ORDER BY id")]

    def test_each_environment_once_and_gone_with_its_last_job(self) -> None:
        for _ in range(3):
            self.add()
        other = self.bring(State.DEAD, "other", env={"X": "1"})
        self.assertEqual(self.rows(), [3, 1])
        self.store.delete(other.id, ("dead",))
        self.assertEqual(self.rows(), [3])
        for job in self.store.select({}, None):
            self.store.cancel(job.id, 1)
        self.store.delete_ended(("cancelled",), None, 100)
        self.assertEqual(self.rows(), [])


class RunTest(QueueTest):
    """What a job really finds."""

    def test_a_job_runs_as_if_from_where_it_was_enqueued(self) -> None:
        box = self.box
        sub = box.dir / "sub"
        sub.mkdir()
        words = box.command("enqueue", "-q", "--max-retries", "5", "--env", "SET=by flag", "--", *(
            "sh", "-c", 'env -0 >env; pwd >pwd; umask >umask; readlink /proc/$$/fd/0 >stdin; '
            'ps -o sid= -p $$ >sid; echo $$ >pid; grep SigIgn /proc/$$/status >ignored',
        ))  # fmt: skip
        box.command = lambda *_: [
            "sh",
            "-c",
            'umask 027; trap "" PIPE INT; exec "$@"',
            "sh",
            *words,
        ]  # type: ignore[method-assign]
        job_id = box.enqueue(cwd=sub, env={"CALLER": "ä\nb", "TERM": "xterm"})
        del box.command
        box.ok("worker", "run", "--burst", "-q", env={"WORKER_ONLY": "1"}, cwd="/")
        self.assertEqual(box.state_of(job_id), "completed", box.log(job_id))
        found = {name: (sub / name).read_text().strip() for name in ("pwd", "umask", "stdin")}
        self.assertEqual(found, {"pwd": str(sub), "umask": "0027", "stdin": "/dev/null"})
        self.assertEqual((sub / "sid").read_text().split(), (sub / "pid").read_text().split())
        self.assertEqual((sub / "ignored").read_text().split()[1].strip("0"), "")
        entries = (sub / "env").read_bytes().split(b"\0")
        env = dict(entry.split(b"=", 1) for entry in entries if entry)
        self.assertEqual(env[b"CALLER"], "ä\nb".encode())
        self.assertEqual(env[b"SET"], b"by flag")
        self.assertFalse({b"WORKER_ONLY", b"TERM"} & set(env))
        ours = {key.decode(): env[key].decode() for key in env if key.startswith(b"QUEUECTL_")}
        self.assertEqual(
            ours,
            {
                "QUEUECTL_DB": str(box.db.resolve()),
                "QUEUECTL_JOB_ID": job_id,
                "QUEUECTL_JOB_RUN": "1",
                "QUEUECTL_JOB_ATTEMPT": "1",
                "QUEUECTL_JOB_MAX_RETRIES": "5",
                "QUEUECTL_JOB_QUEUE": "default",
                "QUEUECTL_JOB_LOG": str(box.state.resolve() / "logs" / f"{job_id}.log"),
                "QUEUECTL_JOB_SLOTS": "",
            },
        )


if __name__ == "__main__":
    unittest.main()
