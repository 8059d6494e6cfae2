"""Whether a network is another is known by its sources: its classes, what makes it, and the functions that these call."""

from __future__ import annotations

import functools
import sys

import pytest
import torch
from torch import nn

from bench.modules.sources import Source
from bench.modules.written import state_text, written

FACTORY = """
from torch import nn

import own_parts
from own_parts import block, Settings as Wide

SIZE = 4
UNUSED = 1


def unused():
    return 1


def make(width=2):
    return nn.Sequential(nn.Linear(2, width), act(), own_parts.last(width))


def act():
    return block()


def scaled(settings=Wide):
    return nn.Linear(SIZE, settings.width)


def again(depth=3):
    return nn.Linear(2, 2) if depth == 0 else again(depth - 1)
"""
PARTS = """
import json

from torch import nn


class Settings:
    width = 3


def block():
    return Act()


class Act(nn.Module):
    def forward(self, x):
        return squashed(x)


def squashed(x):
    return x.tanh()


def last(width):
    return nn.Linear(width, 1)


def unused():
    return json.dumps([])
"""


@pytest.fixture
def made(tmp_path, monkeypatch):
    """The hash and the names of sources of what a file makes, with parts of the texts replaced."""
    monkeypatch.syspath_prepend(tmp_path)

    def hashed(name: str, *changes: tuple[str, str]) -> tuple[str, set[str]]:
        import importlib
        import linecache

        own, parts = FACTORY, PARTS
        for before, after in changes:
            assert before in own + parts
            own, parts = own.replace(before, after), parts.replace(before, after)
        (tmp_path / "own_factory.py").write_text(own)
        (tmp_path / "own_parts.py").write_text(parts)
        for module in ("own_factory", "own_parts"):
            sys.modules.pop(module, None)
        importlib.invalidate_caches()
        monkeypatch.setattr(sys, "dont_write_bytecode", True)
        linecache.clearcache()
        source = Source(getattr(importlib.import_module("own_factory"), name))
        return source.identity()["hash"], set(source.sources())

    yield hashed
    for module in ("own_factory", "own_parts"):
        sys.modules.pop(module, None)


@pytest.mark.parametrize(
    ("name", "before", "after"),
    [
        ("make", "return x.tanh()", "return x.sin()"),
        ("make", "return squashed(x)", "return 2 * squashed(x)"),
        ("make", "return nn.Linear(width, 1)", "return nn.Linear(width, 1, bias=True)"),
        ("make", "return block()", "made = block()\n    return made"),
        ("scaled", "SIZE = 4", "SIZE = 5"),
        ("scaled", "width = 3", "width = 4"),
        ("again", "nn.Linear(2, 2) if", "nn.Linear(2, 2, bias=True) if"),
    ],
)
def test_what_a_factory_or_its_modules_call_makes_another_network(made, name, before, after):
    assert made(name)[0] == made(name)[0] != made(name, (before, after))[0]


def test_what_is_not_used_and_what_others_wrote_makes_no_other_network(made):
    own, names = made("make")
    assert made("make", ("UNUSED = 1", "UNUSED = 2"), ("return json.dumps([])", "return 0"))[0] == own
    assert names == {
        *("make()", "own_factory.act()", "own_parts.block()", "own_parts.Act", "own_parts.squashed()", "own_parts.last()"),
    }


def local(kind: str) -> nn.Module:
    if kind == "once":

        class Net(nn.Linear):
            def forward(self, input: torch.Tensor) -> torch.Tensor:
                return super().forward(input)

    else:

        class Net(nn.Linear):
            def forward(self, input: torch.Tensor) -> torch.Tensor:
                return 2 * super().forward(input)

    return Net(2, 1)


def test_two_classes_of_one_name_with_other_sources_are_two():
    """Python finds the text of a class by its name: of both that of the first."""
    once, twice = (Source(local(kind)) for kind in ("once", "twice"))
    assert once.identity()["hash"] != twice.identity()["hash"]
    assert list(once.sources()) == list(twice.sources()) and once.sources() != twice.sources()

    def both(order):
        return Source(nn.Sequential(*map(local, order)))

    assert both(["once", "twice"])._sources() == both(["twice", "once"])._sources() != both(["once", "once"])._sources()
    assert both(["once", "twice"]).identity()["hash"] != both(["twice", "once"]).identity()["hash"]


def test_a_class_without_a_file_is_known_by_what_it_does():
    def made(factor):
        names = {"nn": nn, "__name__": "own_text"}
        exec(f"class Net(nn.Linear):\n    def forward(self, x):\n        return {factor} * super().forward(x)\n", names)
        return Source(names["Net"](2, 1)).identity()["hash"]

    assert made(2) == made(2) != made(3)


def test_what_a_function_holds_of_others_is_of_it():
    def of(width):
        return lambda: nn.Linear(width, 1)

    assert Source(of(2))._sources() == Source(of(2))._sources() != Source(of(3))._sources()


def test_networks_of_one_factory_with_classes_of_one_name_go_into_one_folder(tmp_path, monkeypatch):
    from bench.modules import capacity_folder

    known = capacity_folder.identity((kind, Source(local, {"kind": kind})) for kind in ("once", "twice"))
    assert known == capacity_folder.identity((kind, Source(local, {"kind": kind})) for kind in ("twice", "once"))
    (tmp_path / "own").mkdir()
    capacity_folder.begin(tmp_path / "own", "own:local", known, {})
    only = capacity_folder.identity([("twice", Source(local, {"kind": "twice"}))])
    # Not refused as another source.
    assert capacity_folder.begin(tmp_path / "own", "own:local", only, {}) == {}
    again = capacity_folder.identity([("once", Source(local, {"kind": "once"}))])
    assert capacity_folder.begin(tmp_path / "own", "own:local", again, {}) == {}


def test_what_a_wrapper_keeps_is_followed_and_odd_containers_are_no_error(tmp_path, monkeypatch):
    """A function under a cache, a callable object in a partial, a container that holds itself."""
    texts = []
    for number in (1, 2):
        (tmp_path / f"wrapped_{number}.py").write_text(
            "import functools\nfrom torch import nn\n\n"
            f"@functools.lru_cache\ndef helper(width):\n    return width + {number} - {number}\n\n"
            "class Start:\n    def __call__(self, a):\n        return a\n\n"
            "start, held = functools.partial(Start(), a=2), {}\nheld['all'] = [held]\n\n"
            "def make(width=2):\n    held, start\n    return nn.Linear(2, helper(width))\n"
        )
        monkeypatch.syspath_prepend(tmp_path)
        make = __import__(f"wrapped_{number}").make
        texts.append("".join(written([], make, "make").values()))
    assert "+ 1 - 1" in texts[0] and "+ 2 - 2" in texts[1]
    assert "def __call__" in texts[0]


class Factory:
    """A callable object; `loops` is a reference back to itself."""

    __slots__ = ("holder", "loops", "settings")

    def __init__(self, slope):
        self.settings, self.loops, self.holder = {"slope": Slope(slope)}, self, object()

    def __call__(self, again=None):
        return nn.Sequential(nn.Linear(2, 1), Leaky(self.settings["slope"].value))


class Slope:
    def __init__(self, value):
        self.value = value


class Leaky(nn.Module):
    """Its repr does not show its slope."""

    def __init__(self, slope):
        super().__init__()
        self.slope = Slope(slope)

    def forward(self, x):
        return nn.functional.leaky_relu(x, self.slope.value)


def enclosed(slope):
    own = Factory(slope)
    return lambda: own()


HELD = {
    "a callable object": Factory,
    "a partial of one": lambda slope: functools.partial(Factory(slope), again=None),
    "a method of one": lambda slope: Factory(slope).__call__,
    "a closure over one": enclosed,
    "a module": Leaky,
}


@pytest.mark.parametrize("kind", HELD)
def test_what_objects_hold_makes_another_network(kind):
    """Plain values, however deep; not where an object lies in memory."""
    once, again, other = (Source(HELD[kind](slope)).identity()["hash"] for slope in (0.1, 0.1, 0.2))
    assert once == again != other


def test_objects_that_hold_each_other_come_to_an_end():
    """Thirty that all hold all of them: there are more ways from one to the others than can be walked."""
    many = [Slope(None) for _ in range(30)]
    for one in many:
        one.value = many
    assert 30 * len("Slope") < len(state_text(many[0])) < 10_000
