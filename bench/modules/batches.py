"""A batch: inputs and targets, as tensors, from arrays, from files, or noise of given shapes."""

from __future__ import annotations

import dataclasses
import pickle
import re
import warnings
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from bench.modules.randomness import stream
from bench.protocol.grid import GridError

SUFFIXES = (".npz", ".pt", ".csv", ".parquet")

# What inputs and targets are called in a file.
INPUTS, TARGETS = "x", "y"


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """Inputs [sample, ...], one tensor for each argument of the module, and targets [sample, ...]."""

    inputs: tuple[Tensor, ...]
    targets: Tensor | tuple[Tensor, ...]

    def __len__(self) -> int:
        return len(self.inputs[0])

    def map(self, inputs: Any, targets: Any) -> Batch:
        """The batch with a function of each tensor of the inputs, and one of each of the targets."""
        own = tuple(map(targets, self.targets)) if isinstance(self.targets, tuple) else targets(self.targets)
        return Batch(tuple(map(inputs, self.inputs)), own)

    @property
    def groups(self) -> Tensor:
        """int64 [sample]: samples with one number have equal inputs."""
        flat = torch.cat([own.reshape(len(own), -1).double() for own in self.inputs], dim=1)
        return torch.unique(flat, dim=0, return_inverse=True)[1]


def batch_of(given: object) -> Batch:
    """The batch that (x, y) stands for; x is a tensor, an array or a table, or a tuple of these where there are several inputs.

    Raises:
        GridError: it is no pair, what is in it is no numbers, or lengths differ.
    """
    if isinstance(given, Batch):
        return given
    if not isinstance(given, tuple | list) or len(given) != 2:
        raise GridError("batch", type(given).__name__, "is no pair of inputs and targets", "give (x, y)")
    x, y = given
    inputs = tuple(_tensor("x", own) for own in x) if _several(x) else (_tensor("x", x),)
    targets = tuple(_tensor("y", own) for own in y) if _several(y) else _tensor("y", y)
    first = len(inputs[0]) if inputs else 0
    named = {**{f"input {k}": len(own) for k, own in enumerate(inputs, 1)}}
    named |= {f"target {k}": len(own) for k, own in enumerate(targets if isinstance(targets, tuple) else (targets,), 1)}
    for name, length in named.items():
        if length != first:
            raise GridError("batch", name, f"has {length} samples, and the first input {first}", "give one target per input")
    if not first:
        raise GridError("batch", "(x, y)", "holds no sample", "give one at least")
    return Batch(inputs, targets)


def _several(value: object) -> bool:
    return isinstance(value, tuple) and len(value) > 0 and all(isinstance(own, Tensor | np.ndarray) for own in value)


def _tensor(name: str, value: Any) -> Tensor:
    """A detached tensor with one dimension at least; its numbers are of the kind that they were."""
    if not isinstance(value, Tensor):
        try:
            value = torch.from_numpy(np.array(value, order="C"))
        except (TypeError, ValueError) as error:
            raise GridError(name, type(value).__name__, "holds no numbers", "give a tensor or an array") from error
    value = value.detach()
    if value.ndim == 0:
        raise GridError(name, value.item(), "is one number", "give one entry for each sample")
    return value


class Shapes(NamedTuple):
    """Of noise: a shape for each argument of the module, and that of the targets; of one sample, or with the samples first."""

    inputs: tuple[tuple[int, ...], ...]
    targets: tuple[int, ...]

    def of(self, n_samples: int) -> Shapes:
        """The shapes of one sample as those of so many."""
        return Shapes(tuple((n_samples, *shape) for shape in self.inputs), (n_samples, *self.targets))

    @property
    def plain(self) -> list[Any]:
        """As lists, as they are given."""
        inputs = [list(shape) for shape in self.inputs]
        return [inputs if len(inputs) > 1 else inputs[0], list(self.targets)]


def shapes_of(given: object, *, samples: bool) -> Shapes:
    """The shapes that (inputs, targets) stands for; inputs are one shape, or one for each argument of the module.

    Args:
        given: shapes as tuples or lists of whole numbers.
        samples: each begins with the number of samples, which is the same; else they are those of one sample.

    Raises:
        GridError: it is no pair of shapes.

    >>> shapes_of(((4, 3), (4, 1)), samples=True).inputs, shapes_of([[[4], [3]], [1]], samples=False).inputs
    (((4, 3),), ((4,), (3,)))
    """
    if isinstance(given, Shapes):
        return given
    pair: Any = given if isinstance(given, Sequence) and not isinstance(given, str) and len(given) == 2 else (None, None)
    several = isinstance(pair[0], Sequence) and len(pair[0]) > 0 and all(isinstance(own, Sequence) for own in pair[0])
    made = [_shape(own) for own in (*(pair[0] if several else pair[:1]), pair[1])]
    first = {own[:1] for own in made if own is not None}
    if None in made or (samples and (len(first) > 1 or first == {()})):
        rule = "must be two shapes, those of inputs and of targets, with equal first numbers"
        if not samples:
            rule = "must be the shapes of one sample's inputs and targets"
        example = "((64, 8), (64, 1)), of two inputs (((64, 8), (64, 3)), (64, 1))" if samples else "((8,), (1,))"
        raise GridError("shapes", given, rule, f"give for example {example}")
    *inputs, targets = (own for own in made if own is not None)
    return Shapes(tuple(inputs), targets)


def _shape(given: object) -> tuple[int, ...] | None:
    """Whole numbers of at least 1; None where it is something else."""
    if isinstance(given, str) or not isinstance(given, Sequence) or not all(type(size) is int and size > 0 for size in given):
        return None
    return tuple(given)


def noise(shapes: Shapes, seed: int) -> Batch:
    """Inputs and targets N(0, 1) of shapes that begin with the samples, each drawn by a stream of its own under a seed."""

    def drawn(shape: tuple[int, ...], purpose: str, *numbers: int) -> Tensor:
        return torch.randn(*shape, generator=torch.Generator().manual_seed(stream(purpose, seed, *numbers)))

    first, *others = shapes.inputs
    inputs = drawn(first, "inputs"), *(drawn(shape, "inputs", number) for number, shape in enumerate(others, start=2))
    return Batch(inputs, drawn(shapes.targets, "targets"))


def read(path: str | Path) -> Batch:
    """The batch in a file: x and y of .npz or .pt; of .csv and .parquet the columns y, y1, y2, ..., and all others as inputs.

    Nothing in a file is run: arrays of objects are refused, and .pt is loaded with `weights_only=True`.

    Raises:
        GridError: there is no such file, or it holds no batch.
    """
    path = Path(path)
    if path.suffix not in SUFFIXES:
        raise GridError("data", str(path), "is no file of a known kind", f"give one of {', '.join(SUFFIXES)}")
    if not path.exists():
        raise GridError("data", str(path), "is not there", "give the path of a file")
    try:
        held = _held(path)
    except GridError:
        raise
    except pickle.UnpicklingError as error:
        rule = "holds more than tensors, which would be run, or is none of torch's"
        raise GridError("data", str(path), rule, "torch.save({'x': x, 'y': y}, path) writes one") from error
    except Exception as error:
        # A stranger's file: each reader has errors of its own.
        lines = str(error).splitlines() or [type(error).__name__]
        raise GridError("data", str(path), f"cannot be read: {lines[0]}", f"give arrays {INPUTS} and {TARGETS}") from error
    if isinstance(held, Mapping):
        lacking = [name for name in (INPUTS, TARGETS) if name not in held]
        if lacking:
            names = ", ".join(map(str, held)) or "nothing"
            raise GridError("data", str(path), f"lacks {lacking[0]}; it holds {names}", f"name them {INPUTS} and {TARGETS}")
        held = (held[INPUTS], held[TARGETS])
    return batch_of(held)


def _held(path: Path) -> Any:
    if path.suffix == ".npz":
        if not zipfile.is_zipfile(path):
            raise GridError("data", str(path), "is no .npz file", "write it with numpy.savez(path, x=x, y=y)")
        with np.load(path, allow_pickle=False) as arrays:
            return {name: arrays[name] for name in arrays.files}
    if path.suffix == ".pt":
        with warnings.catch_warnings():
            # Of pickles that it then refuses.
            warnings.simplefilter("ignore", UserWarning)
            return torch.load(path, weights_only=True)
    import pandas as pd

    if path.suffix == ".parquet" and not path.read_bytes().startswith(b"PAR1"):
        raise GridError("data", str(path), "is no .parquet file", "write it with table.to_parquet(path)")
    table = pd.read_csv(path) if path.suffix == ".csv" else pd.read_parquet(path)
    # pandas gives a name that stands there again a number, so that it is looked for in the header itself.
    header = pd.read_csv(path, header=None, nrows=1, dtype=str).iloc[0] if path.suffix == ".csv" else pd.Series(dtype=str)
    again = header[header.notna() & header.duplicated()]
    if len(again):
        first = again.iloc[0]
        raise GridError("data", str(path), f"has the column {first} twice", f"name them {first}1 and {first}2")
    unnamed = [str(name) for name in table if not str(name).strip() or re.fullmatch(r"Unnamed: \d+", str(name))]
    if unnamed:
        rule, remedy = "has a column without a name, as the row numbers of pandas are", "name it, or write it with index=False"
        raise GridError("data", str(path), rule, remedy)
    for name, column in table.items():
        # An empty entry is a number that is missing, and the diagnosis says so.
        texts = (pd.to_numeric(column, errors="coerce").isna() & column.notna()).to_numpy()
        if texts.any():
            row = int(texts.argmax())
            rule = f"column {name} holds {column.iloc[row]} in row {row + 1}, which is no number"
            raise GridError("data", str(path), rule, "leave it out, or give numbers")
    own = [name for name in table if re.fullmatch(rf"{TARGETS}\d*", str(name))]
    if not own or len(own) == len(table.columns):
        return dict.fromkeys(map(str, table.columns))
    return {INPUTS: table.drop(columns=own).to_numpy(), TARGETS: table[own].to_numpy()}
