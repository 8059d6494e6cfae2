"""Command lines that nobody would write, by the hundred: each ends, with status 0 or with one line and status 2, and tells no secret."""

from __future__ import annotations

import random
import time

import pandas as pd
import pytest

from bench.commands import check_capacity, check_speed, compare
from bench.commands.config import EXECUTION
from bench.commands.exits import MOST_CHARACTERS, WRONG_USE
from bench.protocol.cells import FIELDS
from bench.protocol.grid import AXES
from bench.store.parts import Store

SECRET = "not-to-be-told"

COMMANDS = [
    *[""] * 6,
    "run",
    "diagnose",
    "diagnose",
    "compare",
    "check capacity",
    "check speed",
    "report",
    "columns",
    "check",
    "smoke",
]
GROUPS = ["grid", "engine", "executor", "optimizer", "regularization", "shapes"]
NAMES = [
    *(name for name in (*FIELDS, *EXECUTION) if name != "run_dir"),
    *(f"grid.{axis}" for axis in (*AXES, "variants")),
    *GROUPS,
    *(
        "engine.name",
        "executor.name",
        "executor.slurm",
        "executor.slurm.shards",
        "executor.slurm.partition",
        "executor.ray.num_cpus",
        "regularization.dropout.dropout",
        "regularization.mine",
        "search",
        "search.ratio",
        "budget_s",
    ),
    *(
        "lr",
        "nosuch",
        "",
        "x" * 300,
        "tau.x",
        "hydra.run.dir",
        "hydra/launcher",
        "grid@tau",
        "a b",
        "é",
        "peers",
        "rounds",
        "base",
    ),
]
VALUES = [
    *("", "0", "1", "-1", "3", "0.5", "1e400", "nan", "9" * 30, "9" * 5000, "9000000000000000000", "5000000000", "1e9"),
    *("slurm", "ray"),
    *("null", "true", "None", "smoke", "dropout", "relu", "[none,dropout]", "[]", "[1,2]", "[[1]]", "[{a:1}]", "{}", "{a:1}"),
    *(
        "1,2",
        "smoke,question",
        "range(5)",
        "range(1,2,0)",
        "'range(1,2,0)'",
        "'range(1000000000)'",
        "'range(99999999999999999999)'",
    ),
    *(
        "choice(1,2)",
        "interval(0,1)",
        "glob(*)",
        "shuffle(range(3))",
        "int(x)",
        "sort(3,1)",
        "range(0,1e12)",
        "'",
        '"',
        "\\",
        "[8",
        "{",
        "}",
    ),
    *(
        "${tau}",
        "${nope}",
        "${grid.seed}",
        "${oc.env:MEMCAP_SECRET}",
        "${oc.${tau}:MEMCAP_SECRET}",
        "${hydra:job.name}",
        "${",
        "$",
    ),
    *(
        "<script>",
        "=1+1",
        "\x1b[2J",
        "a\nb",
        "\udcff",
        "é",
        "x" * 500,
        "x" * 100_000,
        "[" * 300,
        "1_000",
        "0x10",
        ".inf",
        "~",
        "a=b=c",
    ),
]
OPTIONS = [
    "-m",
    "--multirun",
    "-c",
    "-c=job",
    "--cfg=job",
    "--cfg",
    "--resolve",
    "-x",
    "-",
    "--",
    "--shell-completion",
    "--tau=1",
    "--info",
]


def generated(chance: random.Random) -> list[str]:
    """A command line."""
    settings = [
        f"{chance.choice(['', '', '', '', '+', '++', '~'])}{chance.choice(NAMES)}={chance.choice(VALUES)}" for _ in range(3)
    ]
    words = settings[: chance.choice([1, 1, 1, 2, 3])]
    if chance.random() < 0.2:
        words.insert(chance.randrange(len(words) + 1), chance.choice(OPTIONS))
    if chance.random() < 0.1:
        words.insert(chance.randrange(len(words) + 1), chance.choice([*VALUES, *NAMES]))
    if chance.random() < 0.05:
        words.append(f"run_dir={chance.choice(['', '/dev/null', 'x' * 300, 'a/' * 3000, 'mine', '${tau}', '[1]', 'null'])}")
    return [*chance.choice(COMMANDS).split(), *words]


@pytest.mark.parametrize("count", [100, pytest.param(300, marks=pytest.mark.exhaustive)])
def test_whatever_is_typed_ends_with_status_0_or_one_line_and_status_2(count, memcap, monkeypatch, tmp_path):
    seed = random.SystemRandom().randrange(10**6)
    chance = random.Random(seed)
    monkeypatch.setenv("MEMCAP_SECRET", SECRET)
    # What is right is not trained.
    monkeypatch.setattr("bench.runs.run._train_planned", lambda *args, **options: None)
    monkeypatch.setattr("bench.report.build.build", lambda run_dir, **options: None)
    monkeypatch.setattr(Store, "read_cells", lambda self: pd.DataFrame({"status": [], "reason": []}))
    monkeypatch.setattr("bench.statistics.survival.groups", lambda cells: pd.DataFrame({"n_memorized": [0], "n_seeds": [1]}))
    for command, work in ((compare, "_compare"), (check_capacity, "_capacity"), (check_speed, "_speed")):
        monkeypatch.setattr(command, work, lambda *args, **options: True)
    for number in range(count):
        line = generated(chance)
        about = f"seed {seed}, line {number}: {[word[:200] for word in line]}"
        began = time.process_time()
        try:
            status, out, err = memcap(*line)
        except BaseException as error:
            raise AssertionError(about) from error
        assert time.process_time() - began < 10, about
        assert SECRET not in out + err, about
        assert status in (0, WRONG_USE), (about, status, err)
        if status:
            assert (
                (out == "" or (len(line) > 1 and {"-m", "--multirun"} & set(line)))
                and err.startswith("memcap: ")
                and err.count("\n") == 1
                and err.endswith("\n")
            ), (about, out, err)
            assert len(err) <= MOST_CHARACTERS + 1, about
