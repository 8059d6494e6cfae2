"""The rooms of bench/: every file is in the list of its room, and imports run down only."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import bench
from tests.conftest import ROOT

BENCH = ROOT / "bench"
HOUSE = (BENCH / "README.md").read_text()
SUFFIXES = (".py", ".pyi", ".html", ".css", ".js", ".h", ".cpp", ".cu", ".txt")

# Above all rooms: the Python interface and `python -m bench`.
ABOVE = ("__init__.py", "__main__.py")

FLOORS = {room: int(floor) for floor, room in re.findall(r"^\| (\d) \| `(\w+)/` \|", HOUSE, re.MULTILINE)}


def lists() -> dict[str, list[str]]:
    """For each room the files that the page names, in its order."""
    rooms = re.split(r"^## (\w+)/$", HOUSE, flags=re.MULTILINE)[1:]
    blocks = dict(zip(rooms[::2], rooms[1::2], strict=True))
    return {
        room: [line.split()[0] for block in re.findall(r"```text\n(.*?)```", text, re.DOTALL) for line in block.splitlines()]
        for room, text in blocks.items()
    }


def imported(path: Path) -> set[str]:
    """What of this package a file imports, anywhere in it, as paths of modules or packages from bench/ on."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            # A name that is imported may be a module of the package, or something in it.
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    parts = [name.split(".")[1:] for name in found if name.split(".")[0] == "bench"]
    return {module for own in parts for module in [_module(own)] if module}


def _module(parts: list[str]) -> str | None:
    for length in range(len(parts), 0, -1):
        path = "/".join(parts[:length])
        for suffix in (".py", ".pyi"):
            if (BENCH / f"{path}{suffix}").exists():
                return f"{path}{suffix}"
    return "/".join(parts) if parts else None


def test_every_file_is_named_once_in_the_list_of_its_room_and_no_other_is():
    files = [path.relative_to(BENCH) for path in BENCH.rglob("*") if path.suffix in SUFFIXES and "conf" not in path.parts]
    named = {room: sorted(own) for room, own in lists().items()}
    there = {
        room: sorted(str(path.relative_to(room)) for path in files if path.parts[0] == room and path.name != "__init__.py")
        for room in FLOORS
    }
    assert named == there
    assert sorted(str(path) for path in files if len(path.parts) == 1) == sorted(ABOVE)


def test_imports_run_down_from_floor_to_floor_and_up_the_list_of_a_room():
    for room, files in lists().items():
        above: set[str] = set()
        for name in files:
            if name.endswith(".py"):
                for module in imported(BENCH / room / name):
                    other, _, rest = module.partition("/")
                    if other == room:
                        assert rest in above, f"{room}/{name} imports {module}, which is not above it in the list of {room}/"
                    else:
                        assert other in FLOORS, f"{room}/{name} imports {module}, which is in no room"
                        assert FLOORS[other] < FLOORS[room], f"{room}/{name} imports {module}, on a floor that is not lower"
            above.add(name)


def test_a_room_begins_with_one_paragraph_and_no_code():
    inits = [path for path in BENCH.rglob("__init__.py") if path.parent != BENCH]
    assert len(inits) >= len(FLOORS)
    for path in inits:
        tree = ast.parse(path.read_text())
        assert len(tree.body) == 1 and len(ast.get_docstring(tree)) > 50, path


def test_reading_results_imports_no_torch_and_no_hydra():
    """Left of the border is torch, right of it pandas: what these rooms import, and what that imports."""
    seen: set[str] = set()
    waiting = [f"{room}/{name}" for room in ("report", "statistics", "store") for name in lists()[room] if name.endswith(".py")]
    while waiting:
        module = waiting.pop()
        if module not in seen:
            seen.add(module)
            waiting += [name for name in imported(BENCH / module) if name.endswith(".py")]
    for module in seen:
        for node in ast.walk(ast.parse((BENCH / module).read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not {name.split(".")[0] for name in names} & {"torch", "hydra", "omegaconf"}, module


def test_every_file_that_a_comment_names_is_there():
    for path in [path for path in BENCH.rglob("*") if path.suffix in SUFFIXES]:
        for name in re.findall(r"\b(?:bench|tests|conf)/[\w/]+\.(?:py|yaml|h|cu)\b", path.read_text()):
            assert (ROOT / name).exists(), f"{path} names {name}"
        for parts in (name.split(".")[1:] for name in re.findall(r"`(bench(?:\.\w+)+)", path.read_text())):
            there = (_module(parts) or "").endswith((".py", ".pyi")) if parts[0] in FLOORS and parts[1:] else True
            assert there and (parts[0] in FLOORS or hasattr(bench, parts[0])), f"{path} names bench.{'.'.join(parts)}"
