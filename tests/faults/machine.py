"""Rows 11, 16b, 17, 18, 20 and 25: a machine that does not do what it should."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

from tests.faults import (
    STOP,
    Skipped,
    check,
    converges,
    equal,
    logged,
    need,
    quick_retries,
    row,
    sound,
    started,
)
from tests.support import ROOT, Sandbox, wait_for


@contextmanager
def _cgroup(kind: str) -> Iterator[Path]:
    group = Path(f"/sys/fs/cgroup/{kind}/queuectl-{os.getpid()}")
    try:
        group.mkdir()
    except OSError as error:
        raise Skipped(f"no {kind} cgroup: {error.strerror}") from None
    try:
        yield group
    finally:
        wait_for(lambda: not (group / "cgroup.procs").read_text(), "an empty cgroup")
        group.rmdir()


@row("11", "a process that KILL does not end")
def unkillable(box: Sandbox) -> None:
    box.ok("config", "set", "kill-grace", "100ms")
    job = box.enqueue("-q", logged("sleep 60"))
    box.ok("worker", "start")
    started(box, job)
    with _cgroup("freezer") as group:
        frozen = [pid for pid in box.pids() if _runs_job(pid)]
        for pid in frozen:
            (group / "cgroup.procs").write_text(str(pid))
        (group / "freezer.state").write_text("FROZEN")
        try:
            refused = box.run("cancel", job)
            equal((refused.code, refused.err.count("\n")), (1, 1), "cancel")
            check("cannot be ended" in refused.err and "--force" in refused.err, refused.err)
            check("cannot be ended" in str(box.job(job)["error"]), "it is not shown on the job")
            stopped = box.run("worker", "stop", "--now", timeout_s=60)
            equal(stopped.code, 1, "worker stop")
            check("cannot be ended" in stopped.err, stopped.err)
            looked = box.run("doctor")
            check(looked.code == 1 and f"cancel --force {job}" in looked.out, f"doctor: {looked!r}")
            box.ok("cancel", "--force", job)
            equal(box.state_of(job), "cancelled", "given up")
            equal(box.ledger(), [f"start {job}"], "the ledger")
        finally:
            (group / "freezer.state").write_text("THAWED")
    sound(box)


def _runs_job(pid: int) -> bool:
    try:
        return b"QUEUECTL_JOB_ID=" in Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return False


HOLDER = """
import fcntl, os, sys
fd = os.open(sys.argv[1], os.O_RDONLY)
fcntl.flock(fd, fcntl.LOCK_EX)
print("held", flush=True)
sys.stdin.read()
"""


@row("16b", "a holder of the write lock that is stopped", fast=False)
def stopped_holder(box: Sandbox) -> None:
    box.enqueue("-q", "true")
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(box.state)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip
    try:
        check(holder.stdout and holder.stdout.readline() == b"held\n", "the lock was not had")
        holder.send_signal(STOP)
        refused = box.run("enqueue", "true", timeout_s=60)
        equal((refused.code, refused.err.count("\n")), (1, 1), refused.err)
        check(str(holder.pid) in refused.err and "stopped" in refused.err, refused.err)
        equal(box.run("list").code, 0, "a list meanwhile")
    finally:
        holder.send_signal(signal.SIGCONT)
        holder.communicate()
    box.enqueue("-q", "true")


@row("16b", "a slow producer of jobs blocks nobody")
def slow_producer(box: Sandbox) -> None:
    producer = box.start("enqueue", "-q", "--file", "-", stdin=subprocess.PIPE)
    try:
        assert producer.stdin is not None
        producer.stdin.write(b"echo slow >> ledger\n" * 5000 + b"echo sl")
        producer.stdin.flush()
        # A pipe holds 64 KiB: once what it cannot hold is through, the producer is being read.
        quick = box.enqueue("-q", "echo quick >> ledger")
        box.ok("worker", "run", "--burst")
        equal((box.state_of(quick), box.ledger()), ("completed", ["quick"]), "meanwhile")
    finally:
        producer.kill()
        producer.communicate()
    equal(len(box.ok("list", "-q").lines), 1, "jobs of a file that never ended")


@contextmanager
def _small_disk(box: Sandbox, size: str) -> Iterator[Path]:
    """Put the queue on a small disk of its own; whatever happens, take it away again."""
    disk = box.dir / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size},mode=700", "queuectl-test", disk],
        capture_output=True,
    )
    if mounted.returncode:
        raise Skipped("no tmpfs can be mounted")
    box.env["QUEUECTL_DB"] = str(disk / "q.db")
    box.db, box.state = disk / "q.db", disk / "q"
    try:
        yield disk
    finally:
        box.run("worker", "stop", "--now")
        subprocess.run(["umount", "-l", disk], check=True)


def _fill(disk: Path) -> Path:
    """Fill a disk to the last byte."""
    path = disk / "filler"
    with open(path, "ab", buffering=0) as file:
        for size in (1 << 16, 1 << 12, 512, 1):
            try:
                while file.write(b"x" * size):
                    pass
            except OSError:
                continue
    return path


@row("17", "disk full at enqueue, at claim, at completion, before start")
def disk_full(box: Sandbox) -> None:
    with _small_disk(box, "4m") as disk:
        quick_retries(box)
        kept = [box.enqueue("-q", f"echo ran >> {box.dir}/ledger") for _ in range(3)]
        Path(f"{box.db}-shm").unlink()  # as after a reboot: to open means to make it anew
        filler = _fill(disk)
        looked = box.run("list")
        equal((looked.code, "full" in looked.err), (1, True), f"list on a full disk: {looked!r}")
        filler.unlink()
        box.ok("list")
        filler = _fill(disk)
        told = 0
        for _ in range(40):  # until the space inside the file is used up as well
            result = box.run("enqueue", "-q", f"echo {'x' * 3000} >> {box.dir}/more")
            if result.code == 0:
                kept.append(result.out.strip())
                continue
            told += 1
            equal((result.code, result.out, result.err.count("\n")), (1, "", 1), result.err)
            check("full" in result.err, result.err)
        check(told, "the disk was never full")
        started_full = box.run("worker", "start")
        check(started_full.err.count("\n") <= 1, started_full.err)
        filler.unlink()
        box.run("worker", "start")
        for job in kept:
            box.wait_state(job, "completed", timeout_s=60)
        job = box.enqueue(
            "-q", f"dd if=/dev/zero of={filler} bs=4k 2>/dev/null; echo done >> {box.dir}/ledger"
        )
        wait_for(lambda: "done" in box.ledger(), "the job that fills the disk")
        wait_for(lambda: box.state_of(job) == "completed" or filler.exists(), "its record")
        filler.unlink(missing_ok=True)
        told_job = box.wait_state(job, "completed", timeout_s=60)
        equal(told_job["run"], 1, "starts of the job that filled the disk")
        job = box.enqueue("-q", "--max-retries", "0", "yes | head -c 9000000; exit 5")
        log = box.state / "logs" / f"{job}.log"
        wait_for(lambda: log.exists() and log.stat().st_size > 1 << 20, "a log that fills the disk")
        wait_for(lambda: box.run("show", job).code == 0, "an answer")
        os.truncate(log, 0)
        equal(box.wait_state(job, "dead", timeout_s=60)["exit_code"], 5, "its status")


@row("17", "no room for another file at worker start")
def no_inodes(box: Sandbox) -> None:
    with _small_disk(box, "4m,nr_inodes=60"):
        job = box.enqueue("-q", f"echo ran >> {box.dir}/ledger")
        # The supervisor finds room, and so do some of its workers.
        refused = box.run("worker", "start", "--count", "30")
        equal((refused.code, refused.err.count("\n")), (1, 1), refused.err)
        check("the disk is full" in refused.err, refused.err)
        box.ok("worker", "start")
        box.wait_state(job, "completed")


@row("17", "a disk that is nearly full is not filled for a moment by the ballast")
def scarce(box: Sandbox) -> None:
    with _small_disk(box, "4m") as disk:
        job = box.enqueue("-q", f"echo ran >> {box.dir}/ledger")
        filler = _fill(disk)
        os.truncate(filler, filler.stat().st_size - 400 * 1024)
        box.ok("worker", "run", "--burst")
        equal(box.state_of(job), "completed", "the job")
        check(not (box.state / "ballast").exists(), "the ballast took the last of the room")


@row("18", "EIO, ENOSPC and EINTR from file calls of an enqueue")
def io_errors(box: Sandbox) -> None:
    need("strace")
    box.enqueue("-q", "true")
    acknowledged, refused = 0, 0
    for call in ("fdatasync", "pwrite64", "openat", "fsync", "ftruncate"):
        for error in ("EIO", "ENOSPC"):
            for when in (1, 2, 5):
                name = f"j-{call}-{error}-{when}"
                words = [
                    "strace", "-f", "-qq", "-o", "/dev/null", "-P", str(box.db),
                    "-P", f"{box.db}-wal", "-P", str(box.state), "-e", f"trace={call}",
                    "-e", f"inject={call}:error={error}:when={when}",
                    *box.command("enqueue", "-q", "--id", name, "true"),
                ]  # fmt: skip
                done = subprocess.run(words, env=box.env, cwd=box.dir, capture_output=True)
                check(b"Traceback" not in done.stderr, done.stderr.decode())
                there = box.run("show", name).code == 0
                if done.returncode == 0:
                    acknowledged += 1
                    check(there, f"{name} was acknowledged and is not there")
                else:
                    refused += 1
                    equal(done.stdout, b"", f"{name} printed an id")
                    box.run("enqueue", "-q", "--id", name, "true")
                    equal(box.run("show", name).code, 0, f"{name} after all")
    check(acknowledged and refused, f"{acknowledged} acknowledged, {refused} refused")
    converges(box)


@row("18", "the -shm cannot grow, and there is room again when somebody looks")
def no_shm(box: Sandbox) -> None:
    need("strace")
    box.enqueue("-q", "true")
    shm = Path(f"{box.db}-shm")
    shm.unlink(missing_ok=True)
    words = [
        "strace", "-f", "-qq", "-o", "/dev/null", "-P", str(shm), "-e", "trace=pwrite64",
        "-e", "inject=pwrite64:error=ENOSPC", *box.command("list"),
    ]  # fmt: skip
    done = subprocess.run(words, env=box.env, cwd=box.dir, capture_output=True)
    equal((done.returncode, done.stdout), (1, b""), "a list")
    check(b"is full" in done.stderr, f"it said {done.stderr!r}")


@row("20", "EMFILE and EAGAIN on spawn")
def no_spawn(box: Sandbox) -> None:
    need("prlimit")
    job = box.enqueue("-q", logged("true"))
    pool = subprocess.Popen(box.command("worker", "run", "--burst"), env=box.env, cwd=box.dir,
                            stderr=subprocess.DEVNULL, preexec_fn=None)  # fmt: skip
    pool.wait(60)
    box.wait_state(job, "completed")
    box.ok("worker", "start")
    worker = int(str(box.workers()[0]["pid"]))
    used = 1 + max(int(name) for name in os.listdir(f"/proc/{worker}/fd"))
    subprocess.run(["prlimit", f"--pid={worker}", f"--nofile={used}:4096"], check=True)
    job = box.enqueue("-q", logged("true"))
    history = wait_for(
        lambda: [run for run in box.job(job)["history"] if run["outcome"]],  # type: ignore[union-attr, index]
        "a start that was refused",
    )
    equal(history[0]["outcome"], "interrupted", "the outcome")  # type: ignore[index]
    check(int(str(box.job(job)["attempts"])) <= 1, "attempts were used")
    subprocess.run(["prlimit", f"--pid={worker}", "--nofile=4096:4096"], check=True)
    told = box.wait_state(job, "completed", timeout_s=60)
    equal(told["attempts"], 1, "attempts")
    converges(box)


@row("25", "a clock that jumps", fast=False)
def clock(box: Sandbox) -> None:
    need("faketime")
    library = next(Path("/usr/lib").rglob("libfaketime.so.1"), None)
    if library is None:
        raise Skipped("libfaketime is not there")
    setting = box.dir / "clock"
    setting.write_text("+0")
    faked = {
        **box.env, "LD_PRELOAD": str(library), "FAKETIME_TIMESTAMP_FILE": str(setting),
        "FAKETIME_NO_CACHE": "1", "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        "DONT_FAKE_MONOTONIC": "1", "PYTHONPATH": str(ROOT),
    }  # fmt: skip
    pool = subprocess.Popen(
        box.command("worker", "run"), env=faked, cwd=box.dir, stderr=subprocess.DEVNULL
    )
    try:
        wait_for(box.workers, "the worker")
        for jump in ("+3600s", "-7200s"):
            gate = box.gate(f"gate{jump}")
            job = box.enqueue("-q", "--timeout", "20s", logged(f"cat {gate}"))
            started(box, job)
            setting.write_text(jump)
            gate.open()
            told = box.wait_state(job, "completed", timeout_s=30)
            check(float(str(told["duration_s"])) >= 0, f"a length of {told['duration_s']}")
            equal(told["history"][0]["outcome"], "succeeded", f"after {jump}")  # type: ignore[index]
            # Its end is dated by the clock that jumped; otherwise nothing was tried here.
            ended = datetime.fromisoformat(str(told["finished_at"])).timestamp()
            away_s = abs(ended - time.time())
            check(abs(away_s - abs(int(jump[:-1]))) < 60, f"the clock is {away_s:.0f} s away")
    finally:
        pool.terminate()
        pool.wait()
