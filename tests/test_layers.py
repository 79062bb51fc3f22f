"""The house rules that a machine can check: layers, homes of the sharp tools, the import budget."""

from __future__ import annotations

import ast
import subprocess
import sys
import tempfile
import unittest
from collections.abc import Iterator

from tests.support import ROOT

PACKAGE = ROOT / "queuectl"

# What a module belongs to; imports go to the same layer only inside one package.
LAYERS = {
    "__init__": 0, "errors": 0, "lifecycle": 0, "job": 0, "values": 0, "config": 0, "cron": 0,
    "spec": 0, "later": 0, "causes": 0,
    "place": 1, "logs": 1, "wake": 1, "render": 1, "storage": 1, "bulk": 1, "waiting": 1,
    "following": 1, "recurring": 1, "schedules": 2,
    "worker": 2,
    "api": 3, "checkup": 3, "figures": 1, "health": 3, "reasons": 3,
    "commands": 4, "dashboard": 4,
    "cli": 5, "__main__": 6,
}  # fmt: skip
# A sharp tool, and the only places that touch it.
HOMES = {
    "sqlite3": ("storage/",),
    "subprocess": ("worker/",),
    "multiprocessing": ("worker/",),
    "signal": ("worker/", "render.py"),  # the names of signals, for people
    "argparse": ("cli.py", "commands/"),
    "ctypes": ("worker/",),
    "fcntl": ("storage/", "worker/"),
    "http": ("dashboard/",),
    "socketserver": ("dashboard/",),
}
NAMES = {
    "print": ("commands/", "render.py", "cli.py"),
    "os.environ": ("cli.py", "config.py"),
    "os.environb": ("cli.py", "config.py"),
    "os.getenv": (),
    "os.putenv": (),
    "os.system": (),
    "os.popen": (),
    "os.fork": ("worker/",),
    "eval": (),
    "exec": (),
    "input": (),
}
# What `enqueue` must not pay for; argparse and sqlite3 themselves bring more than we would like.
TOO_DEAR = (
    "dataclasses", "typing", "json", "subprocess", "multiprocessing", "logging", "inspect",
    "asyncio", "http", "socket", "ctypes", "random", "tempfile", "shutil", "importlib.metadata",
    "difflib", "unicodedata",
)  # fmt: skip


def modules() -> Iterator[tuple[str, ast.Module]]:
    """Give every module of the package: its path below it, and its syntax tree."""
    for path in sorted(PACKAGE.rglob("*.py")):
        yield str(path.relative_to(PACKAGE)), ast.parse(path.read_text(encoding="utf-8"))


def imports(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Give what a module imports, wherever it does, but for the type checker."""
    hidden = {
        id(node)
        for test in ast.walk(tree)
        if isinstance(test, ast.If) and ast.unparse(test.test) == "TYPE_CHECKING"
        for node in ast.walk(test)
    }
    for node in ast.walk(tree):
        if id(node) in hidden:
            continue
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "absolute imports only"
            assert node.module is not None
            yield node.lineno, node.module
            for alias in node.names:
                yield node.lineno, f"{node.module}.{alias.name}"


def part(path: str) -> str:
    """Name the part of the house that a file belongs to."""
    first = path.split("/")[0]
    return first.removesuffix(".py")


class LayersTest(unittest.TestCase):
    def test_imports_go_downwards_only(self) -> None:
        for path, tree in modules():
            here = part(path)
            self.assertIn(here, LAYERS, f"{path} has no layer")
            for line, name in imports(tree):
                words = name.split(".")
                if words[0] != "queuectl" or len(words) < 2 or words[1] not in LAYERS:
                    continue
                with self.subTest(f"{path}:{line} imports {name}"):
                    there = words[1]
                    siblings = LAYERS[there] == LAYERS[here]
                    self.assertTrue(LAYERS[there] < LAYERS[here] or siblings)

    def test_no_third_party_imports(self) -> None:
        for path, tree in modules():
            for line, name in imports(tree):
                with self.subTest(f"{path}:{line} imports {name}"):
                    top = name.split(".")[0]
                    self.assertTrue(top == "queuectl" or top in sys.stdlib_module_names)

    def test_each_sharp_tool_has_one_home(self) -> None:
        for path, tree in modules():
            for line, name in imports(tree):
                homes = HOMES.get(name.split(".")[0])
                if homes is not None:
                    with self.subTest(f"{path}:{line} imports {name}"):
                        self.assertTrue(path.startswith(homes))

    def test_each_sharp_name_has_one_home(self) -> None:
        for path, tree in modules():
            for node in ast.walk(tree):
                if isinstance(node, (ast.Name, ast.Attribute)):
                    homes = NAMES.get(ast.unparse(node))
                    if homes is not None:
                        with self.subTest(f"{path}:{node.lineno} uses {ast.unparse(node)}"):
                            self.assertTrue(homes and path.startswith(homes))

    def test_no_parser_takes_abbreviations(self) -> None:
        found = 0
        for path, tree in modules():
            for node in ast.walk(tree):
                if isinstance(node, ast.Call):
                    called = ast.unparse(node.func)
                    if called.endswith(("Parser", ".add_parser")) and called != "type":
                        found += 1
                        given = {key.arg: ast.unparse(key.value) for key in node.keywords}
                        with self.subTest(f"{path}:{node.lineno}"):
                            self.assertEqual(given.get("allow_abbrev"), "False")
        self.assertGreaterEqual(found, 3)

    def test_files_are_short_and_say_what_they_are(self) -> None:
        for path, tree in modules():
            with self.subTest(path):
                self.assertTrue(ast.get_docstring(tree))
                text = (PACKAGE / path).read_text(encoding="utf-8")
                self.assertLessEqual(text.count("\n"), 450)

    def test_functions_are_short(self) -> None:
        for path, tree in modules():
            for node in ast.walk(tree):
                if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                    with self.subTest(f"{path}: {node.name}"):
                        body = [n for n in node.body if not isinstance(n, ast.Expr)] or node.body
                        lines = (node.end_lineno or 0) - body[0].lineno + 1
                        self.assertLessEqual(lines, 40)


class BudgetTest(unittest.TestCase):
    """In an interpreter of its own: -I -S, so that nobody's .pth files load anything first."""

    def loaded_after(self, *words: str) -> set[str]:
        """Give the modules that a process has loaded after a command."""
        script = (
            f"import sys; sys.path.insert(0, {str(ROOT)!r})\n"
            "from queuectl.cli import main\n"
            f"assert main({list(words)!r}) == 0\n"
            "print(*sys.modules, sep='\\n', file=sys.stderr)"
        )
        done = subprocess.run(
            [sys.executable, "-I", "-S", "-c", script],
            capture_output=True, text=True, timeout=60, check=True,
        )  # fmt: skip
        return set(done.stderr.split())

    def test_an_enqueue_loads_nothing_dear(self) -> None:
        with tempfile.TemporaryDirectory(prefix="queuectl-test-") as folder:
            db = f"{folder}/q.db"
            self.loaded_after(
                "--db", db, "queue", "pause", "q"
            )  # make the file first, as it is most often
            loaded = self.loaded_after("--db", db, "enqueue", "--delay", "1h", "true")
            self.assertEqual(loaded & set(TOO_DEAR), set())
            ours = {name for name in loaded if name.startswith("queuectl.commands.")}
            self.assertEqual(ours, {"queuectl.commands.enqueue", "queuectl.commands.parsing"})
            self.assertFalse({name for name in loaded if name.startswith("queuectl.worker.pool")})


if __name__ == "__main__":
    unittest.main()
