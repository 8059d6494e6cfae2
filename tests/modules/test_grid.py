"""A grid of somebody's own networks on noise: what it trains, what it keeps, whose folder it takes, and what it says."""

from __future__ import annotations

import functools
import gc
import html
import json
import math
import re
import shlex
import sys
import weakref

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

import bench
from bench.modules import on_noise, probe, together
from bench.modules.on_noise import OnNoise, Setup, Training
from bench.modules.sources import Source
from bench.modules.training import Trainer
from tests.report.chrome import INSTALL, find

FACTORY = """
from torch import nn


def make(width=8, act="tanh"):
    return nn.Sequential(nn.Linear(2, width), {"tanh": nn.Tanh, "relu": nn.ReLU}[act](), nn.Linear(width, 1))


def linear():
    return nn.Linear(4, 1)
"""

# Two networks at two rates, two counts and two seeds.
GRID = [
    "model=own_grid:make",
    "shapes=[[2],[1]]",
    "grid.model_args.width=[4,16]",
    "grid.learning_rate=[0.001,0.03]",
    "grid.n_samples=[2,12]",
    "grid.seed=range(2)",
    "max_epochs=60",
    "tau=0.1",
    "run_dir=mine",
]
LINEAR = ["model=own_grid:linear", "shapes=[[4],[1]]", "learning_rate=0.1", "max_epochs=300", "tau=0.05", "run_dir=mine"]


@pytest.fixture(autouse=True)
def factory(tmp_path):
    """The file of the networks; what was imported of it is forgotten."""
    path = tmp_path / "own_grid.py"
    path.write_text(FACTORY)
    yield path
    sys.modules.pop("own_grid", None)


@pytest.fixture
def ended(monkeypatch):
    """How many trainings came to an end; with a limit, Ctrl-C comes before the pack that would pass it."""
    counts = {"trained": 0, "limit": math.inf}
    train = Trainer.train

    def counted(self, jobs, deadline):
        jobs = list(jobs)
        if counts["trained"] + len(jobs) > counts["limit"]:
            raise KeyboardInterrupt
        counts["trained"] += len(jobs)
        return train(self, jobs, deadline)

    monkeypatch.setattr(Trainer, "train", counted)
    return counts


def table(folder, name):
    return pd.read_csv(folder / "tables" / f"network_{name}.csv", keep_default_na=True)


def test_each_combination_is_trained_once_and_the_same_command_goes_on(memcap, tmp_path, ended):
    folder = tmp_path / "mine"
    ended["limit"] = 8
    done = memcap("run", *GRID)
    assert (done.status, ended["trained"]) == (130, 8) and "finished trainings are kept" in done.err
    assert not (folder / "report.html").exists()
    ended["limit"] = math.inf
    assert memcap("run", *GRID).status == 0 and ended["trained"] == 16
    rows = table(folder, "trainings")
    assert len(rows) == len(rows.drop_duplicates(["model_args", "learning_rate", "n_samples", "seed"])) == 16
    assert set(rows["model_args"]) == {"width=4", "width=16"} and set(rows["seed"]) == {0, 1}
    assert [run["trainings_trained"] for run in json.loads((folder / "provenance.json").read_text())["runs"]] == [8, 8]
    # In another folder, without a stop.
    assert memcap("run", *GRID, "run_dir=other").status == 0
    pd.testing.assert_frame_equal(rows, table(tmp_path / "other", "trainings"))
    trained = ended["trained"]
    done = memcap("run", *GRID)
    assert done.status == 0 and ended["trained"] == trained and "16 trainings, 16 of them done already" in done.out
    # What is new is trained, and stands beside what was there.
    assert memcap("run", *GRID, "grid.model_args.width=[8]", "grid.seed=[0]").status == 0
    assert ended["trained"] == trained + 4 and len(table(folder, "trainings")) == 20


def test_the_order_of_arguments_makes_no_other_network(memcap, tmp_path, ended):
    words = ["model=own_grid:make", "shapes=[[2],[1]]", "grid.n_samples=[2]", "grid.seed=[0]", "max_epochs=5", "run_dir=mine"]
    assert memcap("run", *words, "model_args.width=4", "model_args.act=relu").status == 0
    assert memcap("run", *words, "model_args.act=relu", "grid.model_args.width=[4]").status == 0 and ended["trained"] == 1
    assert table(tmp_path / "mine", "trainings")["model_args"].tolist() == ["act='relu', width=4"]


RAISES = """
from pathlib import Path

from torch import nn


class Picky(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.parts = nn.Sequential(nn.Linear(2, width), nn.Tanh(), nn.Linear(width, 1))

    def forward(self, x):
        if self.parts[0].out_features == 6 and len(x) == 12:
            raise ValueError("no dozen")
        if self.parts[0].out_features == 7 and len(x) == 12:
            raise MemoryError
        return self.parts(x)


def make(width):
    if width == 5 and not Path("five").exists():
        raise ValueError("no five")
    return Picky(width)
"""


def test_a_network_that_raises_is_a_failed_row_beside_the_others_and_is_tried_again(memcap, tmp_path, factory, ended):
    factory.write_text(RAISES)
    words = [own for own in GRID if not own.startswith(("grid.model_args", "grid.learning_rate"))]
    words += ["grid.model_args.width=[5,4,6,7]", "learning_rate=0.03"]
    done = memcap("run", *words)
    folder = tmp_path / "mine"
    assert done.status == 1, done.err
    assert "memcap: 8 of 16 trainings failed, 4 by raised ValueError: no five in" in done.err
    assert "2 by raised ValueError: no dozen, 2 by raised MemoryError; the same command tries them again" in done.err
    rows = table(folder, "trainings")
    failed = rows[rows["status"] == "failed"]
    assert set(zip(failed["model_args"], failed["n_samples"], strict=True)) == {
        *(("width=5", 2), ("width=5", 12), ("width=6", 12), ("width=7", 12)),
    }
    assert failed["reason"].notna().all() and failed[["best_tau", "final_tau", "epoch_to_tau", "engine"]].isna().all().all()
    others = rows[rows["status"] != "failed"]
    assert len(others) == 8 and others["best_tau"].notna().all() and others["reason"].isna().all()
    groups = table(folder, "groups").set_index(["model_args", "n_samples"])
    assert groups.loc[("width=6", 12), ["n_seeds", "n_failed"]].tolist() == [0, 2]
    assert math.isnan(groups.loc[("width=6", 12), "fraction_memorized"])
    assert ">failed<" in (folder / "figures" / "map.svg").read_text()
    assert "8 of 16 trainings failed" in (folder / "report.html").read_text()
    # The same command tries these again: what stood in the way is gone.
    (tmp_path / "five").touch()
    done = memcap("run", *words)
    assert done.status == 1 and "memcap: 4 of 16 trainings failed" in done.err and ended["trained"] == 12
    again = table(folder, "trainings")
    others = [own[own["model_args"] != "width=5"] for own in (again, rows)]
    pd.testing.assert_frame_equal(*others, check_dtype=False)
    # Whoever asks for others keeps them.
    assert memcap("run", *words, "grid.model_args.width=[4]").status == 1 and len(table(folder, "trainings")) == 16


def test_a_network_whose_every_training_fails_and_a_search_that_fails_end_with_a_line(memcap, tmp_path, factory):
    factory.write_text(RAISES)
    words = ["model=own_grid:make", "shapes=[[2],[1]]", "max_epochs=20", "tau=0.1", "run_dir=mine", "search.most_cells=12"]
    done = memcap("run", *words, "grid.model_args.width=[5,4]")
    assert done.status == 1 and "trainings failed" in done.err
    rows = table(tmp_path / "mine", "trainings")
    assert (rows[rows["model_args"] == "width=5"]["status"] == "failed").all()
    assert (rows["model_args"] == "width=4").sum() == 12
    done = memcap("run", *words, "model_args.width=5", "run_dir=other")
    assert done.status == 2 and "raised ValueError: no five" in done.err and not (tmp_path / "other").exists()


def test_a_seed_that_raises_takes_no_other_with_it(monkeypatch):
    """The pack as a whole raises; each of its trainings is then tried by itself."""
    own = OnNoise(lambda: nn.Linear(2, 1), Setup(((2,), (1,)), max_epochs=5), [{}])
    train = Trainer.train

    def some(self, jobs, deadline):
        if any(job.seed == 1 for job in jobs):
            raise RuntimeError("out of memory\nat length")
        return train(self, jobs, deadline)

    monkeypatch.setattr(Trainer, "train", some)
    wanted = [Training(*own.way(""), 4, seed) for seed in range(3)]
    (rows,) = own.train(wanted)
    assert [rows[one]["status"] for one in wanted] == ["censored", "failed", "censored"]
    assert rows[wanted[1]]["reason"] == "raised RuntimeError: out of memory"


def test_what_has_ended_in_a_pack_is_kept_when_it_is_stopped(memcap, tmp_path, monkeypatch):
    """Of four trainings in one pack two memorize within some epochs, the others train on."""
    epoch = together._Stack.epoch

    def stopped(self, number):
        if number == 50:
            raise KeyboardInterrupt
        return epoch(self, number)

    words = [*GRID, "grid.model_args.width=[16]", "grid.n_samples=[2]", "max_epochs=300", "tau=0.1"]
    with monkeypatch.context() as patched:
        patched.setattr(together._Stack, "epoch", stopped)
        assert memcap("run", *words).status == 130
    kept = pd.read_parquet(tmp_path / "mine" / "trainings.parquet")
    assert kept["learning_rate"].tolist() == [0.03, 0.03] and (kept["status"] == "memorized").all()
    assert memcap("run", *words).status == 0
    assert memcap("run", *words, "run_dir=other").status == 0
    pd.testing.assert_frame_equal(table(tmp_path / "mine", "trainings"), table(tmp_path / "other", "trainings"))


def test_optimizers_with_their_rates_and_batch_sizes_are_swept_like_the_others(memcap, tmp_path):
    words = [own for own in GRID if not own.startswith(("grid.model_args", "grid.learning_rate"))]
    words += ["model_args.width=4", "grid.optimizer=[adam:0.03,sgd:0.1]", "grid.batch_size=[null,3]"]
    done = memcap("run", *words)
    assert done.status == 0, done.err
    folder = tmp_path / "mine"
    rows = table(folder, "trainings")
    assert len(rows) == 16 and set(zip(rows["optimizer"], rows["learning_rate"], strict=True)) == {("adam", 0.03), ("sgd", 0.1)}
    assert rows["batch_size"].isna().sum() == 8 and set(rows["engine"]) == {"stacked"} and set(rows["device"]) == {"cpu"}
    assert len(table(folder, "groups")) == 8 and len(table(folder, "capacity")) == 4
    drawn = (folder / "figures" / "map.svg").read_text()
    for words_of_it in ("adam, learning rate 0.03, all samples a step", "sgd, learning rate 0.1, 3 samples a step"):
        assert f">{words_of_it}<" in drawn
    # Each is the training that bench.diagnose and its own command make of these settings.
    alone = [*words[:-2], "optimizer=sgd:0.1", "batch_size=3", "run_dir=alone"]
    assert memcap("run", *alone).status == 0
    few = rows[(rows["optimizer"] == "sgd") & rows["batch_size"].notna()].reset_index(drop=True)
    pd.testing.assert_frame_equal(few, table(tmp_path / "alone", "trainings"), check_dtype=False)
    # More of it goes into the same folder.
    assert memcap("run", *alone, "run_dir=mine", "learning_rate=0.2", "optimizer=sgd").status == 0
    assert len(table(folder, "trainings")) == 20


def test_the_page_tells_every_command_that_made_the_folder(memcap, tmp_path):
    small = [*GRID, "grid.model_args.width=[4]", "grid.n_samples=[2]"]
    for more in (["fresh=true"], [], ["grid.model_args.width=[16]"], ["grid.n_samples=[12]"]):
        assert memcap("run", *small, *more).status == 0
    (told,) = re.findall(r"<pre>(memcap run [^<]+)</pre>", (tmp_path / "mine" / "report.html").read_text())
    commands = html.unescape(told).splitlines()
    assert len(commands) == 3 and not any("fresh" in one for one in commands)
    for command in commands:
        name, _, *words = shlex.split(command)
        assert name == "memcap" and memcap("run", *words, "run_dir=again").status == 0
    pd.testing.assert_frame_equal(table(tmp_path / "mine", "trainings"), table(tmp_path / "again", "trainings"))


def test_each_question_is_asked_without_a_jacobian_and_each_network_has_one_rank(monkeypatch):
    ranked = []
    for module in (on_noise, probe):
        rank = module.rank
        monkeypatch.setattr(module, "rank", lambda network, batch, rank=rank: ranked.append(len(batch)) or rank(network, batch))
    made_of, asked = [], on_noise.question

    def noted(*given, **named):
        made = asked(*given, **named)
        made_of.append(weakref.ref(made.source))
        return made

    monkeypatch.setattr(on_noise, "question", noted)
    own = OnNoise(lambda width: nn.Linear(width, 1), Setup(((1,), (1,)), max_epochs=2), [{"width": 1}])
    for count in (2, 3, 4, 5, 6):
        list(own.train([Training(*own.way("width=1"), count, seed) for seed in (0, 1)]))
    assert ranked == [2, 4]
    # No network of a sample count is held when it is over: of them all the first alone.
    gc.collect()
    assert len(made_of) > 5 and [own() is not None for own in made_of] == [True, *[False] * (len(made_of) - 1)]


def test_the_tables_say_what_the_trainings_did(memcap, tmp_path):
    assert memcap("run", *GRID).status == 0
    folder = tmp_path / "mine"
    rows, groups, capacity = (table(folder, name) for name in ("trainings", "groups", "capacity"))
    by = rows.groupby(["model_args", "learning_rate", "n_samples"])
    for group in groups.to_dict("records"):
        own = by.get_group((group["model_args"], group["learning_rate"], group["n_samples"]))
        assert (group["n_seeds"], group["n_memorized"]) == (2, (own["status"] == "memorized").sum())
        assert group["fraction_low"] < group["fraction_memorized"] or group["n_memorized"] == 0
    reached = rows["status"] == "memorized"
    assert (rows.loc[reached, "best_tau"] <= 0.1).all() and (rows.loc[~reached, "best_tau"] > 0.1).all()
    assert rows.loc[reached, "epoch_to_tau"].between(0, 60).all() and rows.loc[~reached, "epoch_to_tau"].isna().all()
    assert 0 < reached.sum() < 16
    assert list(capacity["n_params"]) == [17, 17, 65, 65] and (capacity["jacobian_rank"] <= capacity["n_params"]).all()
    # What is trained at the rate of the row: at the higher one more is left to none.
    assert rows.groupby("learning_rate")["best_tau"].median().diff().iloc[-1] < 0


def test_the_answer_comes_first_and_the_page_is_made_again_without_running_the_model(memcap, tmp_path, factory):
    done = memcap("run", *GRID)
    folder = tmp_path / "mine"
    text = (folder / "report.html").read_text()
    sentences = (folder / "findings.md").read_text().splitlines()
    assert 1 <= len(sentences) <= 3 and sentences[0].removeprefix("- ") in done.out
    shown = html.unescape(text)
    assert shown.index(sentences[0].removeprefix("- ")) < shown.index('id="figure-map"') < shown.index('id="network-capacity"')
    assert f"{(table(folder, 'trainings')['status'] == 'memorized').sum()} of 16 trainings memorized" in shown
    assert {path.name for path in (folder / "figures").iterdir()} == {
        *("map.png", "map.svg", "capacity.png", "capacity.svg"),
    }
    drawn = (folder / "figures" / "map.svg").read_text()
    notes = [f"{row['n_memorized']}/{row['n_seeds']}" for row in table(folder, "groups").to_dict("records")]
    # One more stands in the key.
    assert sorted(re.findall(r">(\d/\d)<", drawn)) == sorted([*notes, min(notes)])
    for word in ("width=4", "width=16", "learning rate 0.001", "learning rate 0.03"):
        assert f">{word}<" in drawn, word
    (command,) = re.findall(r"<pre>(memcap run [^<]+)</pre>", text)
    for word in GRID[:5]:
        assert word in html.unescape(command)
    assert "grid.seed=range(2)" in html.unescape(command)
    factory.write_text("raise SystemExit('imported')\n")
    sys.modules.pop("own_grid", None)
    (folder / "report.html").unlink()
    assert memcap("report", "mine").status == 0
    assert (folder / "report.html").read_text() == text and "own_grid" not in sys.modules
    (tmp_path / "plain").mkdir()
    folder.rename(tmp_path / "plain" / "mine")
    assert memcap("report", "plain").status == 0
    index = (tmp_path / "plain" / "index.html").read_text()
    assert '<a href="mine/report.html">mine</a>' in index and html.escape(sentences[0].removeprefix("- ")) in index


def test_the_report_of_trainings_of_another_version_is_refused_in_one_line(memcap, tmp_path):
    assert memcap("run", *GRID, "grid.model_args.width=[4]", "grid.n_samples=[2]").status == 0
    path = tmp_path / "mine" / "trainings.parquet"
    pd.read_parquet(path).drop(columns=["engine", "device"]).to_parquet(path)
    done = memcap("report", "mine")
    message = "cannot be read, it has no engine, device: another version of memcap wrote it; its command with fresh=true trains them again"
    assert (done.status, done.err) == (2, f"memcap: mine/trainings.parquet: {message}\n")


def test_another_model_other_sources_and_another_training_are_refused_and_fresh_begins_anew(memcap, tmp_path, factory, ended):
    small = [*GRID, "grid.model_args.width=[4]", "grid.n_samples=[2]"]
    assert memcap("run", *small).status == 0 and ended["trained"] == 4
    before = (tmp_path / "mine" / "trainings.parquet").read_bytes()
    remedy = "name a new run_dir, or write fresh=true to forget what it holds"
    cases = {
        "model=own_grid:linear": "memcap: model=own_grid:linear: is not own_grid:make, which mine holds trainings of",
        "tau=0.2": "memcap: tau=0.2: is not 0.1, with which the networks in mine were trained",
        "max_epochs=61": "memcap: max_epochs=61: is not 60, with which the networks in mine were trained",
        "loss=mae": 'memcap: loss=mae: is not "mse", with which the networks in mine were trained',
    }
    for word, message in cases.items():
        more = ["shapes=[[4],[1]]", "grid.model_args.width=null", "grid.model_args={}"] if "linear" in word else []
        words = [own for own in small if not (more and own.startswith("grid.model_args"))]
        done = memcap("run", *words, *more[:1], word)
        assert (done.status, done.err) == (2, f"{message}; {remedy}\n")
    factory.write_text(FACTORY.replace('act="tanh"', 'act="tanh", more=0'))
    sys.modules.pop("own_grid")
    done = memcap("run", *small)
    message = "memcap: model=own_grid:make: is not what mine holds trainings of: the source of make() has changed"
    assert (done.status, done.err) == (2, f"{message}; {remedy}\n")
    # With other arguments too, of which the folder holds none.
    assert memcap("run", *small, "grid.model_args.width=[5]").err == done.err
    assert (tmp_path / "mine" / "trainings.parquet").read_bytes() == before and ended["trained"] == 4
    # What cannot be forgets nothing.
    assert memcap("run", *small, "fresh=true", "grid.model_args.widht=[5]").status == 2
    assert (tmp_path / "mine" / "trainings.parquet").read_bytes() == before
    assert memcap("run", *small, "fresh=true", "tau=0.2").status == 0 and ended["trained"] == 8
    assert len(table(tmp_path / "mine", "trainings")) == 4


def test_without_sample_counts_n50_is_searched_as_bench_capacity_does(memcap, tmp_path, ended):
    """A linear layer of four weights and a bias holds five samples; to tau 0.05 hardly more."""
    words = [*LINEAR, "search.most_cells=20"]
    ended["limit"] = 9
    assert memcap("run", *words).status == 130 and ended["trained"] < 20
    ended["limit"] = math.inf
    done = memcap("run", *words)
    assert done.status == 0 and "linear(): half of the draws memorize" in done.out
    (row,) = table(tmp_path / "mine", "capacity").to_dict("records")
    assert row["jacobian_rank"] == row["n_params"] == 5 and 4 < row["n50_low"] <= row["n50"] <= row["n50_high"] < 8
    found = bench.capacity(
        lambda: nn.Linear(4, 1),
        ((4,), (1,)),
        optimizer=("adam", 0.1),
        max_epochs=300,
        tau=0.05,
        search=bench.Search(most_cells=20),
    )
    names = ["n_samples", "seed", "status", "epoch_to_tau"]
    own = table(tmp_path / "mine", "trainings")[names].sort_values("seed", ignore_index=True)
    pd.testing.assert_frame_equal(own, found.trained[names], check_dtype=False)
    assert (row["n50"], row["n50_low"], row["n50_high"]) == pytest.approx((found.n50, found.low, found.high))
    # What is kept of it is such a folder.
    path = found.save(tmp_path / "saved")
    assert path == tmp_path / "saved" / "report.html" and "lambda" in path.read_text()
    kept = {own.name for own in (tmp_path / "mine").iterdir()}
    assert (
        {own.name for own in (tmp_path / "saved").iterdir()} == kept >= {"config.yaml", "provenance.json", "tables", "figures"}
    )
    assert table(tmp_path / "saved", "capacity")["n50"].tolist() == pytest.approx([found.n50])
    assert memcap("report", "saved").status == 0
    (tmp_path / "foreign").mkdir()
    (tmp_path / "foreign" / "diagnosis.json").write_text("{}")
    with pytest.raises(bench.GridError, match=r"holds diagnosis\.json, but no trainings of a network of one's own"):
        found.save(tmp_path / "foreign")


def test_the_rank_of_a_relu_network_is_seen_with_enough_noise():
    """Over as few samples as the rank has dimensions units are dead that others reach: 6 was taken for 37."""
    own = OnNoise(
        lambda width: nn.Sequential(nn.Linear(8, width), nn.ReLU(), nn.Linear(width, 1)), Setup(((8,), (1,))), [{"width": 4}]
    )
    assert own.size("width=4").rank == 9 * 4 + 5 - 4


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["grid.widht=[3]"], "grid.widht=[3]: is none of model_args, optimizer, learning_rate, batch_size, n_samples, seed;"),
        (["grid.learning_rat=[1]"], "seed; did you mean learning_rate?"),
        (["grid.learning_rate=[0]"], "grid.learning_rate=0: must be a positive number; give for example 0.01"),
        (["learning_rate=fast"], "learning_rate=fast: must be a positive number; give for example 0.01"),
        (["grid.learning_rate=[1]", "learning_rate=1"], "learning_rate=1: is swept by this grid, so one value has no effect"),
        (["grid.n_samples=[8,1.5]"], "grid.n_samples=1.5: must be a whole number of at least 2; give for example 64"),
        (["grid.n_samples=[]"], "grid.n_samples=[]: is empty"),
        (["grid.n_samples=[8]", "grid.seed=[-1]"], "grid.seed=-1: must be a whole number in 0..4294967295"),
        (["grid.seed=[1]"], "grid.seed=[1]: is what a search chooses; give grid.n_samples too, or leave it out"),
        (["grid.n_samples=[8]", "search.ratio=2"], "search={'ratio': 2}: has no effect beside grid.n_samples"),
        (["search.rato=2"], "search={'rato': 2}: must be null or a mapping of ratio, cells_per_round, most_cells"),
        (["search.ratio=0.5"], "search.ratio=0.5: must be at least 1.01; give for example 1.15"),
        (["grid.model_args.width=[4]", "model_args.width=3"], "model_args.width=3: is swept by this grid"),
        (["grid.model_args=3"], "grid.model_args=3: must name arguments; write grid.model_args.NAME=[value,value]"),
        (["grid.seed=range(2000000)", "grid.n_samples=[8]"], "has 2,000,000 trainings, and at most 1,000,000 are kept"),
        (["grid=smoke"], "grid: cannot be chosen in this command"),
        (["optimizer=adm"], "optimizer=adm: is no optimizer; did you mean adam?"),
        (["grid.optimizer=[adam,sdg:0.1]"], "grid.optimizer=sdg:0.1: is no optimizer; did you mean sgd?"),
        (["grid.optimizer=[sgd:fast]"], "grid.optimizer=fast: must be a positive number; give for example 0.01"),
        (["grid.optimizer=[sgd:0.1]", "learning_rate=1"], "grid.optimizer=sgd:0.1: has a rate of its own beside learning_rate"),
        (["grid.batch_size=[8,0]"], "grid.batch_size=0: must be a whole number of at least 1; give for example 100"),
        (["grid.batch_size=[8]", "batch_size=4"], "batch_size=4: is swept by this grid, so one value has no effect"),
        (["optimizer="], "optimizer=: must be a text; memcap run --help lists the settings"),
        (["shapes=[[8]]"], "shapes=[[8]]: must be the shapes of one sample's inputs and targets"),
        (["shapes=[[0],[1]]"], "shapes=[[0], [1]]: must be the shapes of one sample's inputs and targets"),
        (["shapes=null"], "shapes=null: must be given, those of one sample's inputs and of its targets"),
        (["shapes=[[8"], "shapes=[[8: cannot be read"),
        (["fresh=3"], "fresh=3: must be true or false"),
        (["run_dir=null"], "run_dir=null: must be a text"),
        (["depth=3"], "depth: is not a setting"),
        (["-m", "tau=0.1,0.2"], "run_dir=results/networks: is also the folder of another run of this command"),
    ],
)
def test_what_cannot_be_asked_is_one_line_and_imports_nothing(words, message, memcap, factory):
    factory.write_text("raise SystemExit('imported')\n")
    done = memcap("run", "model=own_grid:make", "shapes=[[2],[1]]", *words)
    assert done.status == 2 and message in done.err and done.err.count("\n") == 1, done.err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["model_args.widht=3"], "memcap: model_args.widht=3: is no argument of make; did you mean width?"),
        (["grid.model_args.act=[none]"], "memcap: module=make: raised KeyError: 'none' in"),
        (["max_epochs=0"], "memcap: max_epochs=0: must be a whole number of at least 1"),
        (["tau=2"], "memcap: tau=2: must be a share between 0 and 1"),
        (["shapes=[[3],[1]]"], "memcap: module=Sequential: raised RuntimeError: mat1 and mat2 shapes cannot be multiplied"),
        (["run_dir=diagnosed"], "memcap: run_dir=diagnosed: holds diagnosis.json, but no trainings of a network of one's own"),
        (["run_dir=damaged"], "memcap: run_dir=damaged: holds networks.json or trainings.parquet that cannot be read"),
    ],
)
def test_what_the_network_or_the_folder_does_not_take_is_one_line(words, message, memcap, tmp_path):
    for folder, name in (("diagnosed", "diagnosis.json"), ("damaged", "networks.json")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / name).write_text("{")
    done = memcap("run", "model=own_grid:make", "shapes=[[2],[1]]", *words)
    assert done.status == 2 and done.err.startswith(message) and done.err.count("\n") == 1, done.err


def test_what_strangers_call_their_arguments_is_text(memcap, tmp_path, factory):
    hostile = "</script><img src=x onerror=alert(1)>$x$"
    factory.write_text("from torch import nn\n\n\ndef make(note):\n    return nn.Linear(2, 1)\n")
    words = [f"grid.model_args.note=['{hostile}',b]", "grid.n_samples=[2,3]", "grid.seed=[0]", "max_epochs=2", "run_dir=mine"]
    done = memcap("run", "model=own_grid:make", "shapes=[[2],[1]]", *words)
    assert done.status == 0, done.err
    text = (tmp_path / "mine" / "report.html").read_text()
    assert "<img src=x" not in text and "<script" not in text and html.escape(hostile) in text
    drawn = (tmp_path / "mine" / "figures" / "map.svg").read_text()
    assert "<img" not in drawn and "&lt;/script&gt;" in drawn
    assert "Left out for an error" not in text


@pytest.mark.skipif(find() is None, reason=INSTALL)
def test_the_page_fits_a_desk_and_a_phone(memcap, tmp_path):
    from tests.report.test_browser import started

    assert memcap("run", *GRID).status == 0
    with started() as browser:
        for width in (1280, 390):
            metrics = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": width < 500}
            browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
            browser.get((tmp_path / "mine" / "report.html").as_uri())
            assert browser.get_log("browser") == []
            assert browser.execute_script("return document.documentElement.scrollWidth") <= width


def test_a_search_asks_for_no_single_sample_of_which_batchnorm_has_no_variance():
    network = nn.Sequential(nn.Linear(1, 1), nn.BatchNorm1d(1), nn.Linear(1, 1))
    found = bench.capacity(network, ((1,), (1,)), max_epochs=5, tau=1e-6, search=bench.Search(most_cells=6))
    assert found.side == "below" and found.trained["n_samples"].min() == 2


def test_rows_that_are_not_kept_yet_are_kept_when_the_run_is_stopped(memcap, tmp_path, ended, monkeypatch):
    monkeypatch.setattr("bench.modules.grid.KEEP_EVERY_S", 1e9)
    ended["limit"] = 10
    assert memcap("run", *GRID).status == 130
    kept = len(pd.read_parquet(tmp_path / "mine" / "trainings.parquet"))
    assert 0 < kept == ended["trained"] < 16


def test_a_network_whose_rank_is_not_known_has_its_n50_and_page(memcap, tmp_path, monkeypatch):
    """Its Jacobian is too large to take over enough noise."""
    monkeypatch.setattr(on_noise, "MOST_OUTPUTS", 4)
    asked = ["grid.n_samples=[2,64]", "grid.seed=range(3)", "max_epochs=50", "run_dir=mine"]
    assert memcap("run", "model=own_grid:make", "shapes=[[2],[1]]", *asked).status == 0
    capacity = table(tmp_path / "mine", "capacity")
    assert capacity["jacobian_rank"].isna().all() and capacity["n50_per_rank"].isna().all() and (capacity["n_params"] > 0).all()
    assert (tmp_path / "mine" / "report.html").exists()
    assert memcap("report", "mine").status == 0


def test_what_makes_a_network_is_known_by_its_text_and_not_by_its_address():
    class Makes:
        def __call__(self, width):
            return torch.nn.Linear(width, 1)

    for made in (functools.partial(torch.nn.Linear, 3), Makes()):
        arguments = {"out_features": 1} if isinstance(made, functools.partial) else {"width": 3}
        source = Source(made, arguments)
        assert not any(" at 0x" in text for text in source._sources().values())


def test_a_map_of_a_search_has_bands_that_hold_every_training():
    from bench.statistics.own_networks import MOST_COUNTS, in_bands, mapped

    counts = np.arange(1, 60)
    trained = pd.DataFrame(
        {
            "model_args": "",
            "optimizer": "adam",
            "learning_rate": 0.1,
            "batch_size": None,
            "n_samples": counts,
            "seed": counts,
            "status": np.where(counts < 20, "memorized", "censored"),
            "epoch_to_tau": np.where(counts < 20, 10.0, math.nan),
            "best_tau": 0.5,
        }
    )
    bands = mapped(trained)
    assert len(bands) <= MOST_COUNTS + 1 and bands["n_seeds"].sum() == 59 and bands["n_memorized"].sum() == 19
    for low, band in zip([0, *bands["n_samples"]], bands.to_dict("records"), strict=False):
        within = counts[(counts > low) & (counts <= band["n_samples"])]
        assert (band["n_seeds"], band["n_memorized"]) == (len(within), (within < 20).sum())
    assert in_bands(trained) and not in_bands(trained.head(5))
    few = mapped(trained.head(5))
    assert few["n_samples"].tolist() == [1, 2, 3, 4, 5]


@pytest.mark.parametrize(
    ("known", "sentence"),
    [
        ([("inside", 20.0, 15.0, 30.0)], "make(): half of the draws memorize 20 samples of noise (95 %: 15.0 to 30) within 60"),
        ([("above", math.nan, 9.0, math.inf)], "make() holds more than 64 samples of noise, the most that were tried:"),
        ([("below", math.nan, 0.0, 8.0)], "make() holds fewer than 8 samples of noise:"),
        ([("inside", math.nan, 0.0, math.inf)], "N50 of make() is not known from so few trainings."),
        ([("inside", math.nan, 0.0, math.inf)] * 2, "N50 of no network is known from so few trainings."),
        ([("above", math.nan, 9.0, math.inf)] * 2, "2 of 2 networks hold more than 64 samples of noise"),
        (
            [("above", math.nan, 9.0, math.inf, 32), ("inside", 40.0, 30.0, 50.0)],
            "make(), the only one of 2 networks whose N50 is known: half of the draws memorize 40 samples",
        ),
        (
            [("inside", 20.0, 15.0, 30.0), ("inside", 40.0, 30.0, 50.0)],
            "Of 2 networks whose N50 is known make() has the largest: half of the draws memorize 40 samples",
        ),
    ],
)
def test_the_first_sentence_says_what_is_known_of_n50(known, sentence):
    from bench.report.network_findings import findings

    rows = [
        {
            "model_args": "",
            "optimizer": "adam",
            "learning_rate": 0.1,
            "batch_size": None,
            "side": side,
            "n50": n50,
            "n50_low": low,
            "n50_high": high,
        }
        | {"most_n_samples": most[0] if most else 64, "n50_per_rank": math.nan, "n50_per_param": n50 / 50}
        for side, n50, low, high, *most in known
    ]
    groups = pd.DataFrame({"learning_rate": [0.1], "n_samples": [64], "n_memorized": [1], "n_seeds": [2], "n_failed": 0})
    told = findings(groups, pd.DataFrame(rows), "make", {"max_epochs": 60, "tau": 0.1})
    assert told[0].startswith(sentence), told[0]
    assert told[-1] == "In all, 1 of 2 trainings memorized."
