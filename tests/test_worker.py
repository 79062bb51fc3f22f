"""Workers as a person sees them: start, stop, retries, recovery, and what a job finds around it."""

from __future__ import annotations

import os
import signal
import subprocess
import time
import unittest

from tests.support import LINUX, QueueTest, is_alive, wait_for

# A job that shows an overlap in the kernel: whatever it starts holds its lock.
LOCKED = 'exec 9>"lock-$QUEUECTL_JOB_ID"; flock -n 9 || echo overlap >> ledger; '


class StartStopTest(QueueTest):
    def test_500_jobs_of_4_clients_run_once_each(self) -> None:
        script = (
            'for n in $(seq 125); do echo "echo $0-$n >> ledger"; done | "$@" enqueue -q --file -'
        )
        clients = [
            subprocess.Popen(
                ["sh", "-c", script, str(number), *self.box.command()],
                env=self.box.env,
                cwd=self.box.dir,
                stdout=subprocess.DEVNULL,
            )
            for number in range(4)
        ]
        self.box.ok("worker", "start", "--count", "4")
        self.assertEqual([client.wait(60) for client in clients], [0] * 4)
        wait_for(lambda: len(self.box.ledger()) >= 500, "500 jobs", 120)
        self.box.ok("worker", "stop")
        wanted = sorted(f"{client}-{n}" for client in range(4) for n in range(1, 126))
        self.assertEqual(sorted(self.box.ledger()), wanted)
        self.assertEqual(self.box.pids(), [])

    def test_start_again_adds_and_stop_ends_all(self) -> None:
        self.assertEqual(self.box.ok("worker", "start").out, "Started 1 worker.\n")
        self.assertEqual(self.box.ok("worker", "start", "--count", "2").out, "Started 2 workers.\n")
        self.assertEqual(len(self.box.workers()), 3)
        self.assertEqual(self.box.ok("worker", "stop").out, "Stopped 3 workers.\n")
        self.assertEqual(self.box.ok("worker", "stop").out, "No workers are running.\n")

    def test_stop_lets_the_running_job_finish_and_the_next_wait(self) -> None:
        gate = self.box.gate("gate")
        running = self.box.enqueue(f"echo begin >> ledger; cat {gate}; echo end >> ledger")
        waiting = self.box.enqueue("echo next >> ledger")
        self.box.ok("worker", "start")
        wait_for(self.box.ledger, "the job to begin")
        stop = subprocess.Popen(
            self.box.command("worker", "stop"), env=self.box.env, stdout=subprocess.PIPE
        )
        wait_for(lambda: self.box.workers()[0]["state"] == "draining", "the drain")
        gate.open()
        out, _ = stop.communicate(timeout=30)
        self.assertEqual(out, b"Stopped 1 worker.\n")
        self.assertEqual(self.box.ledger(), ["begin", "end"])
        self.assertEqual(self.box.state_of(running), "completed")
        self.assertEqual(self.box.state_of(waiting), "pending")
        self.box.ok("worker", "start")
        self.box.wait_state(waiting, "completed")

    def test_stop_now_gives_the_start_back(self) -> None:
        job = self.box.enqueue("echo begin >> ledger; sleep 60")
        self.box.ok("worker", "start")
        wait_for(self.box.ledger, "the job to begin")
        self.box.ok("worker", "stop", "--now")
        told = self.box.job(job)
        self.assertEqual((told["state"], told["attempts"], told["run"]), ("pending", 0, 1))
        self.assertEqual(told["history"][0]["outcome"], "interrupted")  # type: ignore[index]

    def test_stop_timeout_and_no_wait(self) -> None:
        job = self.box.enqueue("echo begin >> ledger; sleep 60")
        self.box.ok("worker", "start")
        wait_for(self.box.ledger, "the job to begin")
        told = self.box.ok("worker", "stop", "--no-wait").out
        self.assertEqual(told, "Told 1 worker to stop.\n")
        self.assertEqual(self.box.state_of(job), "processing")
        self.box.ok("worker", "stop", "--timeout", "100ms")
        self.assertEqual(self.box.state_of(job), "pending")

    def test_workers_of_one_queue_leave_the_others_alone(self) -> None:
        other = self.box.enqueue("echo other >> ledger")
        mine = self.box.enqueue("echo mine >> ledger", "--queue", "mine")
        self.box.ok("worker", "run", "--burst", "--queue", "mine")
        self.assertEqual(self.box.ledger(), ["mine"])
        self.assertEqual(self.box.state_of(other), "pending")
        self.assertEqual(self.box.state_of(mine), "completed")

    def test_a_start_inside_a_job_is_refused(self) -> None:
        refused = self.box.run("worker", "start", env={"QUEUECTL_JOB_ID": "5"})
        self.assertEqual((refused.code, refused.err.count("\n")), (2, 1))


class RetryTest(QueueTest):
    def test_three_runs_two_and_four_seconds_apart_then_dead(self) -> None:
        job = self.box.enqueue(
            "date +%s.%N >> ledger; exit 5", "--max-retries", "2", "--backoff-base", "2"
        )
        other = self.box.enqueue("sleep 1; echo other >> others")
        self.box.ok("worker", "start")
        self.box.wait_state(job, "dead")
        times = [float(line) for line in self.box.ledger()]
        self.assertEqual(len(times), 3)
        self.assertGreaterEqual(times[1] - times[0], 2.0)
        self.assertGreaterEqual(times[2] - times[1], 4.0)
        self.assertEqual(self.box.ledger("others"), ["other"])  # a backoff costs no worker
        self.assertEqual(self.box.state_of(other), "completed")
        self.box.ok("dlq", "retry", job)
        told = self.box.wait_state(job, "failed")
        self.assertEqual((told["attempts"], told["run"]), (1, 4))
        self.assertEqual(len(told["history"]), 4)  # type: ignore[arg-type]

    def test_some_exit_codes_are_final(self) -> None:
        job = self.box.enqueue("echo x >> ledger; exit 64", "--no-retry-on", "2,64")
        self.assertEqual(self.box.run("worker", "run", "--burst").code, 4)
        self.assertEqual((self.box.ledger(), self.box.state_of(job)), (["x"], "dead"))


class RecoveryTest(QueueTest):
    def setUp(self) -> None:
        super().setUp()
        self.box.ok("config", "set", "backoff-base", "0")

    def test_a_worker_that_is_killed_loses_nothing(self) -> None:
        job = self.box.enqueue(LOCKED + "echo start >> ledger; test -e again || sleep 60")
        self.box.ok("worker", "start", "--count", "2")
        wait_for(self.box.ledger, "the first run")
        victim = next(w["pid"] for w in self.box.workers() if w["job"] == job)
        (self.box.dir / "again").touch()
        os.kill(int(str(victim)), signal.SIGKILL)
        self.box.wait_state(job, "completed")
        self.assertEqual(self.box.ledger(), ["start", "start"])
        wait_for(lambda: len(self.box.workers()) == 2, "the replacement")

    def test_a_pool_that_is_killed_is_recovered_by_the_next(self) -> None:
        jobs = [
            self.box.enqueue(LOCKED + f"echo {n} >> ledger; test -e again || sleep 60")
            for n in range(3)
        ]
        self.box.ok("worker", "start", "--count", "3")
        wait_for(lambda: len(self.box.ledger()) == 3, "the first runs")
        (self.box.dir / "again").touch()
        ours = [pid for pid in self.box.pids() if _is_ours(pid)]
        self.assertEqual(len(ours), 4)
        for pid in ours:
            os.kill(pid, signal.SIGKILL)
        self.box.ok("worker", "start", "--count", "3")
        for job in jobs:
            self.box.wait_state(job, "completed")
        self.assertEqual(sorted(self.box.ledger()), ["0", "0", "1", "1", "2", "2"])

    def test_a_stop_clears_what_a_killed_pool_left(self) -> None:
        job = self.box.enqueue("echo $$ >> ledger; sleep 60")
        self.box.ok("worker", "start")
        (leader,) = wait_for(self.box.ledger, "the job")  # type: ignore[misc]
        for pid in [pid for pid in self.box.pids() if _is_ours(pid)]:
            os.kill(pid, signal.SIGKILL)
        self.assertTrue(is_alive(int(leader)))
        self.box.ok("worker", "stop")
        self.assertFalse(is_alive(int(leader)))
        self.assertEqual(self.box.state_of(job), "failed")


def _is_ours(pid: int) -> bool:
    with open(f"/proc/{pid}/cmdline", "rb") as file:
        return b"queuectl" in file.read()


@unittest.skipUnless(LINUX, "it looks into /proc")
class SurroundingsTest(QueueTest):
    """What a job finds: its own session, /dev/null, default signals, no descriptors of ours."""

    def run_one(self, *words: str, **more: object) -> bytes:
        job = self.box.enqueue(*words, **more)
        self.box.ok("worker", "run", "--burst")
        self.assertEqual(self.box.state_of(job), "completed")
        return self.box.log(job)

    def test_stdin_session_and_signals(self) -> None:
        script = (
            "readlink /proc/self/fd/0; "
            "grep -E '^(SigIgn|SigBlk)' /proc/self/status; "
            "ps -o sid= -p $$ | tr -d ' '; echo $$"
        )
        ignoring = ["sh", "-c", 'trap "" HUP TERM USR1; exec "$@"', "sh"]
        job = self.box.enqueue(script)
        subprocess.run(
            [*ignoring, *self.box.command("worker", "run", "--burst")],
            env=self.box.env, cwd=self.box.dir, check=True,
        )  # fmt: skip
        null, blocked, ignored, session, leader = self.box.log(job).decode().split("\n")[:5]
        self.assertEqual(null, "/dev/null")
        self.assertEqual(blocked.split()[1].strip("0"), "")
        self.assertEqual(ignored.split()[1].strip("0"), "")
        self.assertEqual(session, leader)

    def test_descriptors(self) -> None:
        listed = self.run_one("--", "sh", "-c", "ls -l /proc/self/fd").decode()
        targets = [line.split(" -> ")[1] for line in listed.splitlines() if " -> " in line]
        strange = [
            target
            for target in targets
            if not target.endswith((".log", "/dev/null", ".exec", "/fd"))
        ]
        self.assertEqual(strange, [])

    def test_variables(self) -> None:
        text = self.run_one("env", "--id", "me", "--max-retries", "7", "--queue", "q").decode()
        found = dict(line.split("=", 1) for line in text.splitlines() if "=" in line)
        wanted = {
            "QUEUECTL_DB": str(self.box.db),
            "QUEUECTL_JOB_ID": "me",
            "QUEUECTL_JOB_RUN": "1",
            "QUEUECTL_JOB_ATTEMPT": "1",
            "QUEUECTL_JOB_MAX_RETRIES": "7",
            "QUEUECTL_JOB_QUEUE": "q",
            "QUEUECTL_JOB_LOG": str(self.box.state / "logs" / "me.log"),
            "QUEUECTL_JOB_SLOTS": "",
        }
        self.assertEqual({key: found.get(key) for key in wanted}, wanted)

    def test_words_are_taken_as_they_are(self) -> None:
        log = self.run_one("--", "printf", "%s|", "a b", "$HOME", "*", "", "ü")
        self.assertEqual(log.decode(), "a b|$HOME|*||ü|")

    def test_a_script_from_standard_input(self) -> None:
        job = self.box.ok("enqueue", "-q", "-", stdin=b"echo one\necho two\n").out.strip()
        self.box.ok("worker", "run", "--burst")
        self.assertEqual(self.box.log(job), b"one\ntwo\n")

    def test_a_log_is_what_was_written_in_order_and_retries_are_marked(self) -> None:
        job = self.box.enqueue(
            "printf 'out\\0\\377'; printf err >&2; printf 'no newline'; exit 1",
            "--max-retries", "1", "--backoff-base", "0",
        )  # fmt: skip
        self.box.run("worker", "run", "--burst")
        once = b"out\0\xfferrno newline"
        log = self.box.log(job)
        self.assertTrue(log.startswith(once + b"\n=== queuectl: attempt 2 of 2, "), log)
        self.assertTrue(log.endswith(b" ===\n" + once), log)

    def test_a_job_may_print_its_own_log(self) -> None:
        words = " ".join(self.box.command("logs", "me"))
        log = self.run_one(f"echo once; {words}; echo done", "--id", "me", "--timeout", "30s")
        self.assertEqual(log, b"once\nonce\ndone\n")

    def test_a_timeout_ends_the_whole_tree(self) -> None:
        self.box.ok("config", "set", "kill-grace", "200ms")
        job = self.box.enqueue(
            "trap '' TERM; setsid sleep 60 & echo $! >> ledger; echo $$ >> ledger; sleep 60",
            "--timeout", "500ms", "--max-retries", "0",
        )  # fmt: skip
        began = time.monotonic()
        self.box.run("worker", "run", "--burst")
        self.assertGreaterEqual(time.monotonic() - began, 0.5)
        told = self.box.job(job)
        self.assertEqual((told["state"], told["signal"]), ("dead", 9))
        self.assertEqual(told["history"][0]["outcome"], "timed_out")  # type: ignore[index]
        self.assertEqual([pid for pid in self.box.ledger() if is_alive(int(pid))], [])


if __name__ == "__main__":
    unittest.main()
