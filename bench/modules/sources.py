"""Where networks come from: a module whose copies are drawn anew, or a function that makes one; and a name for what it is."""

from __future__ import annotations

import copy
import hashlib
import importlib
import inspect
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from bench.modules.losses import RAISED, first_line
from bench.modules.randomness import drawn
from bench.modules.written import class_text, state_text, written
from bench.protocol.grid import GridError
from bench.protocol.names import did_you_mean

# A parameter whose spread is further than this factor from what `reset_parameters` draws was drawn otherwise.
OTHERWISE = 1.5

# So few numbers tell no spread.
FEW_NUMBERS = 4


class Source:
    """Networks drawn by seeds. The given module is never touched, nor is the global random state."""

    def __init__(self, asked: object, arguments: Mapping[str, Any] | None = None):
        """`asked`: an nn.Module, or a function of `arguments` that makes one; it may take a torch.Generator as `generator`.

        Raises:
            GridError: it is neither, or it raises.
        """
        self.arguments = dict(arguments or {})
        self.is_instance = isinstance(asked, nn.Module)
        if not self.is_instance and not callable(asked):
            remedy = "give a torch.nn.Module, or a function that makes one"
            raise GridError("module", type(asked).__name__, "is no network", remedy)
        if self.arguments and self.is_instance:
            rule = f"are of a function, and {type(asked).__name__} is a network"
            raise GridError("arguments", self.arguments, rule, "give the function, or no arguments")
        self.asked: Any = asked
        self.name = type(asked).__name__ if self.is_instance else getattr(asked, "__name__", type(asked).__name__)
        self._refuse_unknown()
        self._first = asked if isinstance(asked, nn.Module) else self._made(0)
        self.template = copy.deepcopy(self._first)
        self.template.zero_grad(set_to_none=True)
        self.kept = _not_drawn(self.template) if self.is_instance else ()
        self.drawable = not self.is_instance or len(self.kept) < len(list(self.template.parameters()))
        self.matched = self._matched() if self.is_instance else {}

    def _refuse_unknown(self) -> None:
        """Refuse an argument that the function does not have."""
        try:
            known = inspect.signature(self.asked).parameters.values() if self.arguments else ()
        except (TypeError, ValueError):
            return
        if any(own.kind is inspect.Parameter.VAR_KEYWORD for own in known):
            return
        names = [own.name for own in known]
        for name, value in self.arguments.items():
            if name not in names:
                remedy = did_you_mean(name, names, f"it has {', '.join(names) or 'none'}")
                raise GridError(f"arguments.{name}", value, f"is no argument of {self.name}", remedy)

    def draw(self, seed: int) -> nn.Module:
        """A network whose initial weights were drawn under this seed.

        A copy of a given module is drawn by the `reset_parameters` of its parts. What the module's own weights differ in is
        kept: a parameter that is constant stays, and one of another spread is scaled to that.
        """
        if not self.is_instance:
            made = self._made(seed)
            # A function that gives one network again and again is not to find it trained.
            return copy.deepcopy(made) if made is self._first else made
        network = copy.deepcopy(self.template)
        with drawn(seed):
            _reset(network)
        with torch.no_grad():
            for name, parameter in network.named_parameters():
                if (change := self.matched.get(name)) is not None:
                    parameter.copy_(change(parameter))
        return network

    def _made(self, seed: int) -> nn.Module:
        takes = _takes_generator(self.asked)
        own = {"generator": torch.Generator().manual_seed(seed)} if takes else {}
        try:
            with drawn(seed):
                made = self.asked(**self.arguments, **own)
        except RAISED as error:
            where = _where(error)
            raise GridError("module", self.name, f"raised {first_line(error)}{where}", "mend the function") from error
        if not isinstance(made, nn.Module):
            raise GridError("module", self.name, f"made {type(made).__name__}, no network", "return a torch.nn.Module")
        return made

    def _matched(self) -> dict[str, Callable[[Tensor], Tensor]]:
        """What brings a parameter that was just drawn to the spread of the one that was given, where these differ."""
        fresh = copy.deepcopy(self.template)
        with drawn(0):
            _reset(fresh)
        changes: dict[str, Callable[[Tensor], Tensor]] = {}
        own = dict(self.template.named_parameters())
        for name, parameter in fresh.named_parameters():
            given, parameter = own[name].detach(), parameter.detach()
            if name in self.kept or torch.equal(given, parameter):
                continue
            if given.numel() and bool((given == given.flatten()[0]).all()):
                changes[name] = lambda _, given=given: given
            elif given.numel() >= FEW_NUMBERS and float(parameter.std()) > 0:
                ratio = float(given.std()) / float(parameter.std())
                if not 1 / OTHERWISE < ratio < OTHERWISE:
                    changes[name] = lambda value, ratio=ratio: value * ratio
        return changes

    def identity(self) -> dict[str, Any]:
        """What a result is of: the network's name, its arguments, its parameters' shapes, and a hash of what it is made of."""
        shapes = {name: tuple(own.shape) for name, own in self.template.named_parameters()}
        return {"name": self.name, "arguments": self.arguments, "shapes": shapes, "hash": self._hash()}

    def sources(self) -> dict[str, str]:
        """Hashes of what it is made of by name: its classes outside torch, what makes it, and functions that these call."""
        return {name: _digest(text) for name, text in self._sources().items()}

    def _sources(self) -> dict[str, str]:
        kinds = {own for part in self.template.modules() for own in type(part).__mro__}
        # What is followed first hangs on no order of a set.
        outside = sorted((own for own in kinds if _is_outside(own)), key=lambda own: (own.__module__, own.__qualname__))
        return written(outside) if self.is_instance else written(outside, self.asked, f"{self.name}()")

    def _hash(self) -> str:
        """A hash of what the network is: the function's name and arguments, repr, shapes, what its parts hold, and sources."""
        said = [self.name, repr(sorted(self.arguments.items())), repr(self.template)]
        said += [f"{name} {tuple(own.shape)} {own.dtype}" for name, own in self.template.named_parameters()]
        said += [class_text(type(part)) for part in self.template.modules() if _is_outside(type(part))]
        # Of a part of somebody's own what its repr need not show.
        said += [f"{path} {state_text(part)}" for path, part in self.template.named_modules() if _is_outside(type(part))]
        said += self._sources().values()
        return _digest("\n".join(said))


def _is_outside(kind: type) -> bool:
    return kind.__module__.partition(".")[0] not in ("torch", "builtins")


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _takes_generator(function: Any) -> bool:
    try:
        return "generator" in inspect.signature(function).parameters
    except (TypeError, ValueError):
        return False


def _reset_of(part: nn.Module) -> Callable[[], Any] | None:
    """What draws a part's own parameters anew."""
    for name in ("reset_parameters", "_reset_parameters"):
        if callable(found := getattr(part, name, None)):
            return found
    return None


def _reset(network: nn.Module) -> None:
    """Outer parts first: what draws for its inner parts is then followed by these."""
    for part in network.modules():
        if (own := _reset_of(part)) is not None:
            own()


def _not_drawn(network: nn.Module) -> tuple[str, ...]:
    """Parameters of parts that cannot draw them anew."""
    found = []
    for prefix, part in network.named_modules():
        if _reset_of(part) is None:
            found += [f"{prefix}.{name}".lstrip(".") for name, _ in part.named_parameters(recurse=False)]
    return tuple(found)


def _where(error: BaseException) -> str:
    """The file and line in which it was raised."""
    frames = traceback.extract_tb(error.__traceback__)
    outside = [frame for frame in frames if "/torch/" not in frame.filename and "/bench/modules/" not in frame.filename]
    return f" in {outside[-1].filename}, line {outside[-1].lineno}" if outside else ""


@contextmanager
def importable() -> Iterator[None]:
    """Within, modules of the working directory can be imported, by what is imported from there as well."""
    here = str(Path.cwd())
    sys.path.insert(0, here)
    try:
        yield
    finally:
        if here in sys.path:
            sys.path.remove(here)


def imported(name: str) -> Any:
    """What `package.module:factory` names. Only what the command line itself names may come here: importing runs code.

    Raises:
        GridError: there is no such module or function; the message names the file and line that raised.
    """
    module, _, attribute = name.partition(":")
    if not module or not attribute:
        raise GridError("model", name, "must name a module and a function", "write model=package.module:factory")
    try:
        found: Any = importlib.import_module(module)
    except RAISED as error:
        frames = [own for own in traceback.extract_tb(error.__traceback__) if "importlib" not in own.filename]
        where = f" in {frames[-1].filename}, line {frames[-1].lineno}" if len(frames) > 1 else ""
        if isinstance(error, SyntaxError):
            where = f" in {error.filename}, line {error.lineno}"
        raise GridError("model", name, f"cannot be imported: {first_line(error)}{where}", "mend it, or its path") from error
    for part in attribute.split("."):
        if not hasattr(found, part):
            known = [own for own in vars(found) if not own.startswith("_")] if hasattr(found, "__dict__") else []
            file = getattr(found, "__file__", module)
            raise GridError("model", name, f"{file} has no {part}", did_you_mean(part, known, "name a function in it"))
        found = getattr(found, part)
    return found
