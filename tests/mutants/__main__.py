"""`python3 -m tests.mutants [--only NAME] [--fast]`: plant each bug in a copy and see it caught.

A catcher counts only if it passes on the copy without the bug (`--fast` trusts that it does), and
only if it names what it found: a crash of the catcher catches nothing.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.mutants.table import MUTANTS, Mutant
from tests.support import ROOT

TIMEOUT_S = 400


def main() -> int:
    """Try every bug; 0 where each was caught."""
    parser = argparse.ArgumentParser(prog="python3 -m tests.mutants", description=__doc__)
    parser.add_argument("--only", action="append", choices=[mutant.name for mutant in MUTANTS])
    parser.add_argument("--fast", action="store_true", help="do not try the catchers without a bug")
    options = parser.parse_args()
    chosen = [mutant for mutant in MUTANTS if not options.only or mutant.name in options.only]
    caught = 0
    with tempfile.TemporaryDirectory(prefix="queuectl-mutants-") as folder:
        sound = True if options.fast else _is_sound(_copy(Path(folder) / "sound"), chosen)
        for mutant in chosen:
            caught += _try(mutant, Path(folder) / mutant.name)
    print(f"{caught} of {len(chosen)} caught")
    return 0 if caught == len(chosen) and sound else 1


def _is_sound(tree: Path, chosen: list[Mutant]) -> bool:
    """Run every catcher without a bug: it must find nothing."""
    sound = True
    for catcher in dict.fromkeys(catcher for mutant in chosen for catcher in mutant.caught_by):
        found = _catch(tree, catcher)
        if found != "":
            sound = False
            print(f"NOT SOUND  {catcher}: {found or 'it failed'}", flush=True)
    return sound


def _try(mutant: Mutant, tree: Path) -> bool:
    _copy(tree)
    for name, old, new in mutant.changes:
        text = (tree / name).read_text()
        if text.count(old) != 1:
            print(f"STALE      {mutant.name}: the text is {text.count(old)} times in {name}")
            return False
        (tree / name).write_text(text.replace(old, new))
    for catcher in mutant.caught_by:
        began = time.monotonic()
        found = _catch(tree, catcher)
        if found:
            took = f"{time.monotonic() - began:.0f} s"
            print(f"caught     {mutant.name}\n    by {catcher} ({took})\n    {found}", flush=True)
            return True
    print(f"NOT CAUGHT {mutant.name} (by {'; '.join(mutant.caught_by)})", flush=True)
    return False


def _copy(tree: Path) -> Path:
    skip = shutil.ignore_patterns("__pycache__", "*.pyc")
    for name in ("queuectl", "tests"):
        shutil.copytree(ROOT / name, tree / name, ignore=skip)
    return tree


def _catch(tree: Path, catcher: str) -> str | None:
    """Run a catcher in a tree; give what it found, "" for nothing, None where it crashed."""
    try:
        done = subprocess.run(
            [sys.executable, "-m", *catcher.split()],
            cwd=tree,
            env={**os.environ, "PYTHONPATH": str(tree)},
            capture_output=True,
            timeout=TIMEOUT_S,
        )
        findings = json.loads(done.stdout)["findings"]
    except (ValueError, KeyError, subprocess.TimeoutExpired) as error:
        print(f"{catcher} crashed: {error!r}", flush=True)
        return None
    return _first(findings)


def _first(findings: object) -> str:
    if isinstance(findings, dict):
        told = (f"{what} ({len(texts)}): {texts[0]}" for what, texts in findings.items() if texts)
        return "; ".join(told)[:300]
    assert isinstance(findings, list)
    return f"{len(findings)}: {findings[0]}"[:300] if findings else ""


if __name__ == "__main__":
    sys.exit(main())
