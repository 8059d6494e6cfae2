"""What cannot be asked of anybody's network is said in one line: the thing, the rule, the remedy."""

from __future__ import annotations

import math
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import bench
from bench.modules.batches import read

X, Y = torch.ones(4, 2) * torch.arange(4.0)[:, None], torch.arange(4.0)[:, None]


def module(function):
    """A network of one layer whose forward is a function of the layer and the input."""

    class Odd(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(2, 1)

        def forward(self, x):
            return function(self.layer, x)

    return Odd()


class Untrainable(nn.Module):
    """It raises in training mode alone."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(2, 1)

    def forward(self, x):
        if self.training:
            raise NotImplementedError("training")
        return self.layer(x)


def breaks():
    raise KeyError("width")


LINE = breaks.__code__.co_firstlineno + 1
GIVEN = "it was given inputs float32 of shape (4, 2)"
CASES = [
    (
        (nn.Linear(3, 1), (X, Y)),
        {},
        f"module=Linear: raised RuntimeError: mat1 and mat2 shapes cannot be multiplied (4x2 and 3x1); {GIVEN}",
    ),
    (
        (module(lambda own, x: own(x).sum()), (X, Y)),
        {},
        "module=Odd: gives a tensor of shape () for 4 samples; its first dimension must be the samples",
    ),
    (
        (module(lambda own, x: (own(x), x)), (X, Y)),
        {},
        "module=Odd: gives tuple, no tensor; return the tensor that the loss takes, or give a loss that takes this",
    ),
    (
        (module(lambda own, x: own(x) * math.nan), (X, Y)),
        {},
        "module=Odd: gives NaN or infinite numbers before training, for 4 of 4 samples; look at logarithms, roots and divisions"
        " in its forward",
    ),
    ((Untrainable(), (X, Y)), {}, f"module=Untrainable: raised NotImplementedError: training; {GIVEN}"),
    (("net", (X, Y)), {}, "module=str: is no network; give a torch.nn.Module, or a function that makes one"),
    ((lambda: 3, (X, Y)), {}, "module=<lambda>: made int, no network; return a torch.nn.Module"),
    (
        (breaks, (X, Y)),
        {},
        f"module=breaks: raised KeyError: 'width' in {__file__}, line {LINE}; mend the function",
    ),
    (
        (nn.Linear(2, 1), (X, Y[:3])),
        {},
        "batch=target 1: has 3 samples, and the first input 4; give one target per input",
    ),
    ((nn.Linear(2, 1), X), {}, "batch=Tensor: is no pair of inputs and targets; give (x, y)"),
    ((nn.Linear(2, 1), None), {}, "batch=null: must be given, or shapes of noise in its place; give (x, y)"),
    (
        (nn.Linear(2, 1), (X, Y)),
        dict(shapes=((4, 2), (4, 1))),
        "shapes=((4, 2), (4, 1)): has no effect beside a batch; leave one of them out",
    ),
    (
        (nn.Linear(2, 1), (X, Y)),
        dict(loss=lambda output, target: (output - target) ** 2),
        "loss=<lambda>: gives a tensor of shape (4, 1), where one number is needed; reduce it, as .mean() does",
    ),
    (
        (nn.Linear(2, 1), (X, Y)),
        dict(loss=lambda output, target: 1 / 0),
        "loss=<lambda>: cannot be taken: ZeroDivisionError: division by zero; outputs are float32 of shape (4, 1), targets"
        " float32 of shape (4, 1)",
    ),
    (
        (nn.Linear(2, 1), (X, Y)),
        dict(stop=lambda losses: losses[-3] < losses[-1]),
        "stop=<lambda>: raised IndexError: list index out of range; it is given the losses so far, two after the first epoch",
    ),
    ((module(lambda own, x: sys.exit("no")), (X, Y)), {}, f"module=Odd: raised SystemExit: no; {GIVEN}"),
    ((nn.Linear(2, 1), (X, Y)), dict(loss="rmse"), "loss=rmse: is no loss; did you mean mse?"),
    (
        (nn.Linear(2, 3), (X, torch.tensor([0, 1, 2, 3]))),
        dict(loss="cross_entropy"),
        "loss=cross_entropy: cannot be taken: IndexError: Target 3 is out of bounds.; outputs are float32 of shape (4, 3),"
        " targets int64 of shape (4,)",
    ),
    (
        (nn.Linear(2, 3), (X, torch.tensor([0.0, 1, 2, 1]))),
        dict(loss="cross_entropy"),
        "loss=cross_entropy: takes the number of a class for each sample, and targets are float32 of shape (4,); give y.long()",
    ),
    (
        (lambda width=8, depth=1: nn.Linear(2, 1), (X, Y)),
        dict(arguments={"widht": 3}),
        "arguments.widht=3: is no argument of <lambda>; did you mean width?",
    ),
    (
        (nn.Linear(2, 1), (X, Y)),
        dict(arguments={"width": 3}),
        "arguments={'width': 3}: are of a function, and Linear is a network; give the function, or no arguments",
    ),
    ((nn.Linear(2, 1), (X, Y)), dict(optimizer="adm"), "optimizer=adm: is no optimizer; did you mean adam?"),
    (
        (nn.Linear(2, 1), (X, Y)),
        dict(optimizer=("adam", -1)),
        "optimizer=('adam', -1): has a rate that is no positive number; give (\"adam\", 0.01)",
    ),
    (
        (nn.Linear(2, 1), (X, Y)),
        dict(optimizer=torch.optim.Adam(nn.Linear(2, 1).parameters())),
        "optimizer=Adam: holds none of the module's parameters; make it from module.parameters() of the module that is given",
    ),
    (
        (lambda: nn.Linear(2, 1), (X, Y)),
        dict(optimizer=torch.optim.Adam(nn.Linear(2, 1).parameters())),
        "optimizer=Adam: holds parameters of another network; give a function, lambda params: torch.optim.Adam(params)",
    ),
    ((nn.Linear(2, 1), (X, Y)), dict(tau=1.5), "tau=1.5: must be a share between 0 and 1; give for example 0.01"),
    (
        (nn.Linear(2, 1), (X, Y)),
        dict(max_epochs=0),
        "max_epochs=0: must be a whole number of at least 1; give for example 100",
    ),
    (
        (nn.Linear(2, 1), (X, Y)),
        dict(stop=3),
        "stop=3: is no stopping rule; give bench.Stop(patience=10), or a function of the losses so far",
    ),
    ((nn.Linear(2, 1), (X, Y)), dict(measured="test"), "measured=test: is no mode; choose eval or train"),
    (
        (nn.Linear(2, 1), (X, Y)),
        dict(budget_s=0),
        "budget_s=0: must be null or a positive number of seconds; give for example 60",
    ),
    (
        (nn.Linear(2, 1),),
        dict(shapes=((4, 2), (3, 1))),
        "shapes=((4, 2), (3, 1)): must be two shapes, those of inputs and of targets, with equal first numbers; give for"
        " example ((64, 8), (64, 1)), of two inputs (((64, 8), (64, 3)), (64, 1))",
    ),
]


@pytest.mark.parametrize("network", [nn.Flatten(), nn.Linear(2, 2).requires_grad_(False)], ids=["no parameters", "frozen"])
def test_a_network_without_anything_to_train_is_told_so_and_no_error(network):
    targets = torch.randn(4, 2, generator=torch.Generator().manual_seed(0))
    found = bench.diagnose(network, (X, targets), max_epochs=5, seeds=[0])
    told = (
        "the network has no parameters" if isinstance(network, nn.Flatten) else "need no gradient, and stay as they are: weight"
    )
    assert any(told in one.text for one in found.findings)
    assert str(found.verdict.cause) in ("a part that does not train", "a linear network")
    with pytest.raises(AssertionError, match=r"does not memorize the batch: tau is "):
        bench.assert_memorizes(network, (X, targets), within_epochs=5)


@pytest.mark.parametrize(("asked", "settings", "message"), CASES, ids=range(len(CASES)))
def test_what_cannot_be_is_said_in_one_line(asked, settings, message):
    with pytest.raises(bench.GridError) as error:
        bench.diagnose(*asked, **settings)
    assert str(error.value) == message


def test_what_does_not_fit_the_memory_of_its_device_is_said_in_one_line(monkeypatch):
    """As on a GPU that is full: the pack is halved until one network alone is too large."""
    from bench.modules import alone, together

    def full(networks, jobs, deadline, clock, over):
        sizes.append(len(jobs))
        raise torch.OutOfMemoryError("CUDA out of memory")

    def full_alone(own, job, deadline, clock):
        raise torch.OutOfMemoryError("CUDA out of memory")

    sizes: list[int] = []
    monkeypatch.setattr(together, "train", full)
    monkeypatch.setattr(alone, "train", full_alone)
    with pytest.raises(bench.GridError) as error:
        bench.diagnose(nn.Linear(2, 1), (X, Y), seeds=range(4))
    assert str(error.value) == (
        "module=Linear: does not fit into the memory of cpu beside its gradients and its optimizer's state; give a smaller"
        " batch_size or fewer samples, or device='cpu'"
    )
    assert sizes[:3] == [4, 2, 1]


def test_files_of_every_kind_hold_a_batch_and_none_is_run(tmp_path):
    import pandas as pd

    x, y = X.numpy(), Y.numpy()
    np.savez(tmp_path / "own.npz", x=x, y=y)
    torch.save({"x": X, "y": Y}, tmp_path / "own.pt")
    table = pd.DataFrame({"a": x[:, 0], "b": x[:, 1], "y": y[:, 0]})
    table.to_csv(tmp_path / "own.csv", index=False)
    table.to_parquet(tmp_path / "own.parquet")
    for suffix in ("npz", "pt", "csv", "parquet"):
        batch = read(tmp_path / f"own.{suffix}")
        assert torch.equal(batch.inputs[0].float(), X) and torch.equal(batch.targets.float(), Y), suffix
    np.savez(tmp_path / "bad.npz", x=np.array([{}], dtype=object), y=y)
    with pytest.raises(bench.GridError, match=r"cannot be read: Object arrays cannot be loaded"):
        read(tmp_path / "bad.npz")
    torch.save({"x": print, "y": Y}, tmp_path / "bad.pt")
    with pytest.raises(
        bench.GridError, match=r"holds more than tensors, which would be run, or is none of torch's; torch\.save"
    ):
        read(tmp_path / "bad.pt")
    np.savez(tmp_path / "other.npz", x=x, target=y)
    with pytest.raises(bench.GridError, match=r"lacks y; it holds x, target; name them x and y"):
        read(tmp_path / "other.npz")
    with pytest.raises(bench.GridError, match=r"is no file of a known kind; give one of .npz, .pt, .csv, .parquet"):
        read(tmp_path / "own.pkl")


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("a.npz", "x,y\n1,2\n", "is no .npz file; write it with numpy.savez(path, x=x, y=y)"),
        (
            "a.pt",
            "gASVCg==",
            "holds more than tensors, which would be run, or is none of torch's; torch.save({'x': x, 'y': y}, path) writes one",
        ),
        ("a.parquet", "x,y\n1,2\n", "is no .parquet file; write it with table.to_parquet(path)"),
        ("a.csv", "a,b,y\n1,2,3\n4,x5,6\n", "column b holds x5 in row 2, which is no number; leave it out, or give numbers"),
        ("c.csv", "a,y,y\n1,3,2\n", "has the column y twice; name them y1 and y2"),
        ("d.csv", "", "cannot be read: No columns to parse from file; give arrays x and y"),
    ],
)
def test_a_file_that_holds_no_batch_is_told_in_one_line(name, text, told, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path(name).write_text(text)
    with pytest.raises(bench.GridError) as error:
        read(Path(name))
    assert str(error.value) == f"data={name}: {told}"


def test_names_that_pandas_would_give_to_doubled_ones_are_columns(tmp_path):
    """x and x.1 are two columns; a name that stands there twice is none, whatever stands beside it."""
    own = tmp_path / "own.csv"
    own.write_text("\ufeff\nx,x.1,y\n1,2,3\n4,5,6\n", encoding="utf-8")
    assert read(own).inputs[0].tolist() == [[1.0, 2.0], [4.0, 5.0]]
    for header in ("x,x,x.1,y", "x,x.1,x,y", '"x",x,x.2,y'):
        own.write_text(f"{header}\n1,2,3,4\n")
        with pytest.raises(bench.GridError, match="has the column x twice; name them x1 and x2"):
            read(own)


def test_the_targets_of_a_table_are_y_y1_y2_and_no_column_is_without_a_name(tmp_path):
    """Numbers alone name inputs, as 8x8 pixels have them."""
    import pandas as pd

    own = pd.DataFrame({"0": [1.0, 2], "1": [3.0, 4], "y": [5.0, 6], "y12": [7.0, 8], "ymax": [9.0, 10]})
    own.to_csv(tmp_path / "own.csv", index=False)
    batch = read(tmp_path / "own.csv")
    assert batch.inputs[0].tolist() == [[1, 3, 9], [2, 4, 10]] and batch.targets.tolist() == [[5, 7], [6, 8]]  # pyright: ignore
    own.to_csv(tmp_path / "own.csv")
    with pytest.raises(bench.GridError) as error:
        read(tmp_path / "own.csv")
    assert str(error.value) == (
        f"data={tmp_path / 'own.csv'}: has a column without a name, as the row numbers of pandas are; name it, or write it with"
        " index=False"
    )


FACTORY = """
from torch import nn


def make(width=8):
    import own_helper

    return nn.Sequential(nn.Linear(2, width), nn.Tanh(), nn.Linear(width, 1))
"""


def test_the_command_diagnoses_the_network_and_the_batch_that_it_names(memcap, tmp_path):
    (tmp_path / "own_networks.py").write_text(FACTORY)
    (tmp_path / "own_helper.py").touch()
    before = list(sys.path)
    draws = np.random.default_rng(0)
    np.savez(tmp_path / "batch.npz", x=draws.normal(size=(8, 2)), y=draws.normal(size=(8, 1)))
    words = [
        "model=own_networks:make",
        "data=batch.npz",
        "model_args={width: 32}",
        "optimizer=adamw",
        "learning_rate=0.02",
        "seeds=[0]",
    ]
    done = memcap("diagnose", *words)
    assert (done.status, done.err) == (0, "")
    assert done.out.startswith("Memorizable as it is: 5 of 5 seeds memorized")
    assert "129 parameters, 129 of them trained, for 8 outputs (8 samples)" in done.out
    assert memcap("diagnose", "--fail", *words, "max_epochs=1", "budget_s=1").status == 1
    assert sys.path == before


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["model=nowhere:make"], "memcap: model=nowhere:make: cannot be imported: ModuleNotFoundError: No module named"),
        (["model=own_broken:make"], "own_broken.py, line 2; mend it, or its path"),
        (["model=own_exits:make"], "cannot be imported: SystemExit: 0 in"),
        (["model=own_good:mak"], "own_good.py has no mak; did you mean make?"),
        (
            ["model=own_good:make", "model_args.widht=3"],
            "memcap: model_args.widht=3: is no argument of make; did you mean width?",
        ),
        (["model=own_good"], "memcap: model=own_good: must name a module and a function; write model=package.module:factory"),
        (["model=own_good:make", "model_args=3"], "memcap: model_args=3: must be a mapping of arguments"),
        (["model=own_good:make", "data=[1,2]", "noise=null"], "memcap: data=[1, 2]: must be a text"),
        (["model=own_good:make", "learning_rate=-1"], "memcap: learning_rate=-1: must be a positive number"),
        (["model=own_good:make", "noise=[[4,2],[3,1]]"], "memcap: noise=[[4, 2], [3, 1]]: must be two shapes"),
        (["model=own_good:make", "los=mse"], "memcap: los: is not a setting; did you mean loss?"),
    ],
)
def test_a_network_that_cannot_be_imported_is_told_with_file_and_line(words, message, memcap, tmp_path):
    (tmp_path / "own_broken.py").write_text("import math\nmath.nothing\n")
    (tmp_path / "own_exits.py").write_text("import sys\n\nsys.exit(0)\n")
    (tmp_path / "own_good.py").write_text(FACTORY)
    done = memcap("diagnose", "noise=[[4,2],[4,1]]", *words)
    assert done.status == 2 and message in done.err and done.err.count("\n") == 1


def test_help_of_diagnose_names_every_setting():
    import inspect

    from bench.modules.diagnosis import diagnose as of_modules
    from bench.runs.diagnosis import diagnose as of_cells

    for function in (of_modules, of_cells):
        for name in list(inspect.signature(function).parameters)[1:]:
            assert name == "batch" or name in bench.diagnose.__doc__.replace(",", " ").split(), name


def test_epochs_that_cannot_be_are_told_by_the_name_that_they_were_given_by():
    with pytest.raises(bench.GridError) as error:
        bench.assert_memorizes(nn.Linear(2, 1), (X, Y), within_epochs=0)
    assert str(error.value) == "within_epochs=0: must be a whole number of at least 1; give for example 100"
