"""completion: the scripts in the three real shells, as a person's Tab would use them."""

from __future__ import annotations

import os
import pty
import shutil
import subprocess
import sys
import unittest

from queuectl.cli import COMMANDS
from tests.support import QueueTest, wait_for

SHELLS = ("bash", "zsh", "fish")
STATES = ("pending", "processing", "completed", "failed", "dead", "cancelled")


class Shell(QueueTest):
    """A shell with our completion, and a queue with a dead job in it; subclasses complete."""

    shell = ""

    def setUp(self) -> None:
        if not shutil.which(self.shell):
            self.skipTest(f"{self.shell} is not installed")
        super().setUp()
        self.box.enqueue("exit 1", "--id", "corpse", "--max-retries", "0", "--queue", "bees")
        self.box.run("worker", "run", "--burst")
        self.box.enqueue("true", "--id", "alive", "--queue", "build")
        self.script = self.box.dir / "script"
        self.script.write_bytes(self.box.ok("completion", self.shell).raw)
        bin_dir = self.box.dir / "bin"
        bin_dir.mkdir()
        (bin_dir / "queuectl").write_text(f'#!/bin/sh\nexec {sys.executable} -m queuectl "$@"\n')
        (bin_dir / "queuectl").chmod(0o755)
        self.env = {**self.box.env, "PATH": f"{bin_dir}:{os.environ['PATH']}", "TERM": "dumb"}

    def complete(self, line: str) -> set[str]:
        raise NotImplementedError

    def call(self, *words: str) -> list[str]:
        done = subprocess.run(
            [self.shell, *words], env=self.env, cwd=self.box.dir, capture_output=True, timeout=60
        )
        self.assertEqual((done.returncode, done.stderr), (0, b""))
        return done.stdout.decode().splitlines()


class Cases:
    """What every shell must do."""

    def test_its_grammar(self: Shell) -> None:  # type: ignore[misc]
        self.call("-n", str(self.script))

    def test_words(self: Shell) -> None:  # type: ignore[misc]
        self.assertEqual(self.complete("queuectl "), set(COMMANDS))
        self.assertEqual(self.complete("queuectl dlq "), {"list", "retry", "purge"})
        self.assertEqual(self.complete("queuectl help wo"), {"worker"})
        self.assertEqual(self.complete("queuectl completion z"), {"zsh"})

    def test_flags_and_their_values(self: Shell) -> None:  # type: ignore[misc]
        self.assertEqual(self.complete("queuectl worker start --co"), {"--count", "--color"})
        self.assertLessEqual(set(STATES), self.complete("queuectl list --state "))
        self.assertEqual(self.complete("queuectl --color n"), {"never"})
        self.assertEqual(self.complete("queuectl config get max-"), {"max-retries"})

    def test_what_is_in_the_queue(self: Shell) -> None:  # type: ignore[misc]
        self.assertEqual(self.complete("queuectl show "), {"alive", "corpse"})
        self.assertEqual(self.complete("queuectl -q cancel alive c"), {"corpse"})
        self.assertEqual(self.complete("queuectl dlq retry "), {"corpse"})
        self.assertEqual(self.complete("queuectl list --queue b"), {"bees", "build"})

    def test_what_follows_a_comma(self: Shell) -> None:  # type: ignore[misc]
        head = "" if self.shell == "zsh" else "bees,"  # zsh keeps what it was told to pass over
        found = self.complete("queuectl worker start --queue bees,bu")
        self.assertEqual(found, {f"{head}build"})
        (self.box.dir / "my,jobs").touch()
        self.assertEqual(self.complete("queuectl enqueue --file my,"), {"my,jobs"})

    def test_another_queue_and_none(self: Shell) -> None:  # type: ignore[misc]
        self.box.ok("--db", "other.db", "enqueue", "true", "--id", "there")
        self.assertEqual(self.complete("queuectl --db other.db show "), {"there"})
        self.assertEqual(self.complete("queuectl --db /nonexistent/x show "), set())
        self.assertEqual(self.complete("queuectl enqueue -- scr"), {"script"})


class BashTest(Cases, Shell):
    shell = "bash"

    def complete(self, line: str) -> set[str]:
        words = " ".join(f"'{word}'" for word in line.split(" "))
        return set(
            self.call(
                "--norc", "-uc",
                f"source '{self.script}'; COMP_WORDS=({words}); "
                "COMP_CWORD=$((${#COMP_WORDS[@]} - 1)); _queuectl 2>&1; "
                'printf "%s\\n" ${COMPREPLY[@]+"${COMPREPLY[@]}"}',
            )
        ) - {""}  # fmt: skip


class FishTest(Cases, Shell):
    shell = "fish"

    def complete(self, line: str) -> set[str]:
        found = self.call("--no-config", "-c", f"source '{self.script}'; complete -C '{line}'")
        return {each.partition("\t")[0] for each in found}


class ZshTest(Cases, Shell):
    shell = "zsh"

    def complete(self, line: str) -> set[str]:
        """Press Tab in a terminal; a wrapper of compadd writes down what it was offered."""
        out, done = self.box.dir / "offered", self.box.dir / "done"
        for path in (out, done):
            path.unlink(missing_ok=True)
        (self.box.dir / ".zshrc").write_text(
            f"autoload -U compinit; compinit -D; source '{self.script}'\n"
            f'compadd() {{ local -a got; builtin compadd -O got "$@"; '
            f"print -rl -- $got >> '{out}'; builtin compadd \"$@\" }}\n"
            f"finish() {{ touch '{done}' }}; zle -N finish; bindkey '^X' finish\n"
            "PS1=ready; unsetopt beep prompt_cr; "
            # nothing is typed before the editor listens
            f"zle-line-init() {{ touch '{done}.up' }}; zle -N zle-line-init\n"
        )
        (self.box.dir / "done.up").unlink(missing_ok=True)
        master, slave = pty.openpty()
        process = subprocess.Popen(
            ["zsh", "-i"], stdin=slave, stdout=slave, stderr=slave, cwd=self.box.dir,
            env={**self.env, "ZDOTDIR": str(self.box.dir)}, start_new_session=True,
        )  # fmt: skip
        os.close(slave)
        try:
            wait_for((self.box.dir / "done.up").exists, "the editor")
            os.write(master, line.encode() + b"\t\x18")
            wait_for(done.exists, "the completion")
        finally:
            process.kill()
            process.wait()
            os.close(master)
        return set(out.read_text().splitlines()) - {""} if out.exists() else set()


class AboutCommandsTest(QueueTest):
    def test_they_need_no_queue(self) -> None:
        bare = {"HOME": "", "QUEUECTL_DB": ""}
        for words in (["help"], ["help", "list"], *(["completion", s] for s in SHELLS)):
            with self.subTest(" ".join(words)):
                self.assertEqual(self.box.run(*words, env=bare).code, 0)
        self.assertFalse(self.box.db.exists())

    def test_help_gives_the_page_of_the_command_itself(self) -> None:
        self.assertEqual(self.box.ok("help").out, self.box.ok("--help").out)
        for words in (["list"], ["worker", "start"], ["schedule", "add"], ["help"]):
            with self.subTest(" ".join(words)):
                self.assertEqual(self.box.ok("help", *words).out, self.box.ok(*words, "--help").out)
        for words in (["nosuch"], ["worker", "nosuch"]):
            self.assertEqual(self.box.run("help", *words).code, 2)


if __name__ == "__main__":
    unittest.main()
