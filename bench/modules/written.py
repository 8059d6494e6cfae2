"""What somebody wrote that a network is made of: functions, classes and constants by name -> their texts.

Followed are names that a function refers to: of its module, of modules that this imports, of its closure and defaults, members
of containers, and what objects of somebody's own classes hold. Not seen is what is found at run time alone (getattr, files that
are read), the numbers of tensors and arrays, what is not Python, and what packages call among themselves.
"""

from __future__ import annotations

import functools
import inspect
import sys
import sysconfig
from collections import deque
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import CodeType, FunctionType, ModuleType
from typing import Any

from torch import nn

# So many functions and classes are followed, the nearest first; characters of a constant, and entries of a container.
MOST_FOLLOWED, MOST_CHARACTERS, MOST_ENTRIES = 500, 10_000, 1000

# Containers within containers.
MOST_NESTED = 10

# Where others' code lies.
OTHERS = ("site-packages", "dist-packages")
_STANDARD = Path(sysconfig.get_path("stdlib")).resolve()

# What torch keeps in every module: parameters and parts are known by their names and shapes.
_OF_MODULES = frozenset(vars(nn.Module()))

_PLAIN = (bool, int, float, complex, str, bytes, type(None))


def written(classes: Iterable[type], function: Any = None, name: str = "") -> dict[str, str]:
    """Texts by name, in the order of names; of one name with several texts all of them.

    Args:
        classes: those of a network's parts, whoever wrote them.
        function: what makes the network, known by `name`; None where nothing does.
    """
    found: dict[str, set[str]] = {}
    waiting: deque[Any] = deque()
    # Held, so that no other object has the id of one that is gone.
    seen: dict[int, Any] = {}

    def add(key: str, of: Any) -> None:
        found.setdefault(key, set()).add(_text(of, waiting))

    if function is not None:
        add(name, function)
        seen[id(function)] = function
    for kind in classes:
        add(_name(kind), kind)
        seen[id(kind)] = kind
    while waiting and len(seen) < MOST_FOLLOWED:
        own = waiting.popleft()
        if id(own) not in seen and _is_own(own):
            seen[id(own)] = own
            add(_name(own), own)
    return {key: "\n".join(sorted(found[key])) for key in sorted(found)}


def class_text(kind: type) -> str:
    """The text of a class: what its functions are and hold. Python finds the text of a class by its name alone."""
    return _text(kind, deque())


def _name(of: Any) -> str:
    return f"{of.__module__}.{of.__qualname__}{'' if isinstance(of, type) else '()'}"


def _is_own(of: Any) -> bool:
    """Whether somebody wrote it who may change it: not Python, a package, or this program."""
    if str(of.__module__).partition(".")[0] in ("bench", "torch", "builtins"):
        return False
    if isinstance(of, FunctionType):
        return _is_own_file(of.__code__.co_filename)
    return _is_own_file(getattr(sys.modules.get(of.__module__), "__file__", None) or "<no file>")


@functools.cache
def _is_own_file(name: str) -> bool:
    if name.startswith("<"):
        return not name.startswith("<frozen")
    path = Path(name).resolve()
    return not (_STANDARD in path.parents or set(OTHERS) & set(path.parts))


def _text(of: Any, waiting: deque[Any]) -> str:
    """The text of a function, a class, or what holds one, as a `functools.partial` does; what it refers to is appended."""
    of = inspect.unwrap(of) if callable(of) else of
    if isinstance(of, FunctionType):
        return "\n".join(_of_function(of, waiting))
    if isinstance(of, type):
        return "\n".join(_of_class(of, waiting))
    if isinstance(of, functools.partial):
        held = [*of.args, *(part for pair in sorted(of.keywords.items()) for part in pair)]
        return "\n".join([_text(of.func, waiting), *(_value(own, waiting) for own in held)])
    if inspect.ismethod(of):
        return "\n".join([_text(of.__func__, waiting), _value(of.__self__, waiting)])
    # Not its repr, which may hold an address: the next process has another.
    return getattr(of, "__qualname__", None) or f"{_text(type(of), waiting)}\n{_value(of, waiting)}"


def _of_function(of: FunctionType, waiting: deque[Any]) -> Iterator[str]:
    try:
        yield inspect.getsource(of)
        lines = of.__name__ != "<lambda>"
    except (OSError, TypeError, SyntaxError):
        lines = False
    if not lines:
        # There is none, or it may hold several.
        yield _of_code(of.__code__)
    if not _is_own(of):
        return
    for value in (*(of.__defaults__ or ()), *(of.__kwdefaults__ or {}).values()):
        yield _value(value, waiting)
    for name, cell in zip(of.__code__.co_freevars, of.__closure__ or (), strict=True):
        try:
            held = cell.cell_contents
        except ValueError:
            continue
        if name != "__class__":
            yield f"{name} = {_value(held, waiting)}"
    names = list(dict.fromkeys(_names(of.__code__)))
    for name in names:
        if name not in of.__globals__:
            continue
        value = of.__globals__[name]
        if not isinstance(value, ModuleType):
            yield f"{name} = {_value(value, waiting)}"
        elif _is_own_file(getattr(value, "__file__", None) or "<frozen>"):
            for inner in names:
                if inner in vars(value):
                    yield f"{name}.{inner} = {_value(vars(value)[inner], waiting)}"


def _names(code: CodeType) -> Iterator[str]:
    """Names that a function and those within it refer to."""
    yield from code.co_names
    for inner in code.co_consts:
        if isinstance(inner, CodeType):
            yield from _names(inner)


def _of_code(code: CodeType) -> str:
    constants = [_of_code(own) if isinstance(own, CodeType) else _value(own, deque()) for own in code.co_consts]
    return f"{code.co_code.hex()} {constants} {code.co_names} {code.co_varnames}"


def _of_class(kind: type, waiting: deque[Any]) -> Iterator[str]:
    yield f"{kind.__qualname__}({', '.join(base.__qualname__ for base in kind.__bases__)})"
    waiting.extend(base for base in kind.__bases__ if base is not object)
    for name, value in vars(kind).items():
        inner = getattr(value, "__func__", None) or getattr(value, "fget", None) or value
        if isinstance(inner, FunctionType):
            yield f"{name}: {_text(inner, waiting)}"
        elif not name.startswith("__"):
            yield f"{name} = {_value(value, waiting)}"


def state_text(value: Any) -> str:
    """What an object of somebody's own class holds: plain values, and containers and such objects of them."""
    return _value(value, deque())


def _value(value: Any, waiting: deque[Any], depth: int = 0, told: dict[int, Any] | None = None) -> str:
    """What a value is: itself where it is plain, else members of a container, and what an object of somebody's own class holds.

    Functions and classes are appended to `waiting`, and the classes of objects.

    `depth`: of what holds it, one in the other, since a container may hold itself; `told`: objects whose state stands there.
    """
    value, depth, told = inspect.unwrap(value) if callable(value) else value, depth + 1, {} if told is None else told
    if depth > MOST_NESTED:
        return "..."
    if isinstance(value, _PLAIN):
        return repr(value)[:MOST_CHARACTERS]
    if isinstance(value, dict):
        pairs = list(value.items())[:MOST_ENTRIES]
        return (
            "{"
            + ", ".join(f"{_value(key, waiting, depth, told)}: {_value(own, waiting, depth, told)}" for key, own in pairs)
            + "}"
        )
    if isinstance(value, list | tuple):
        return f"({', '.join(_value(own, waiting, depth, told) for own in value[:MOST_ENTRIES])})"
    if isinstance(value, set | frozenset):
        return f"{{{', '.join(sorted(_value(own, waiting, depth, told) for own in list(value)[:MOST_ENTRIES]))}}}"
    if isinstance(value, functools.partial):
        keywords = dict(sorted(value.keywords.items()))
        return f"partial({', '.join(_value(own, waiting, depth, told) for own in (value.func, value.args, keywords))})"
    if isinstance(value, FunctionType | type):
        waiting.append(value)
        return value.__qualname__
    if isinstance(value, ModuleType):
        return type(value).__qualname__
    waiting.append(type(value))
    if id(value) in told or not _is_own(type(value)):
        return type(value).__qualname__
    # Held, so that no other object has its id.
    told[id(value)] = value
    return f"{type(value).__qualname__}{_value(_state(value), waiting, depth, told)}"


def _state(value: Any) -> dict[str, Any]:
    """The attributes of an object by name; of a module not what torch keeps in it."""
    slots = [name for kind in type(value).__mro__ for name in _slots(kind)]
    held = {name: getattr(value, name) for name in slots if hasattr(value, name)} | getattr(value, "__dict__", {})
    own = held.keys() - _OF_MODULES if isinstance(value, nn.Module) else held.keys()
    return {name: held[name] for name in sorted(own)}


def _slots(kind: type) -> list[str]:
    names = vars(kind).get("__slots__", ())
    return [name for name in ([names] if isinstance(names, str) else names) if not name.startswith("__")]
