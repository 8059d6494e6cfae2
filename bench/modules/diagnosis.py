"""Why does my network not memorize my batch? Looks, a ladder of variants, and the verdict over them."""

from __future__ import annotations

import dataclasses
import math
import textwrap
import time
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from bench.machine.bar import Bar
from bench.modules.causes import Finding, Held
from bench.modules.changes import levers, words
from bench.modules.clocks import Clock, own_time
from bench.modules.folder import keep
from bench.modules.inquiry import Inquiry, Tally
from bench.modules.looks import looks
from bench.modules.losses import spelled
from bench.modules.networks import quiet
from bench.modules.probe import Layer
from bench.modules.questions import SEEDS, Question, check_budget, question
from bench.modules.threads import as_many_as_pay
from bench.modules.training import Trainer
from bench.modules.trials import EVAL
from bench.modules.verdict import Verdict, verdict
from bench.report.module_page import in_order
from bench.statistics.survival import wilson_interval

# Columns of a text, and rows of the evidence that it shows.
WIDTH, MOST_ROWS = 118, 16


@dataclasses.dataclass(frozen=True, slots=True)
class ModuleDiagnosis:
    """A verdict, and what it stands on; as text, the verdict and the code to change first.

    `findings`: what was found before training; `evidence`: a row for the network as asked, the first, and for each variant:
    the columns of the table `module_evidence` (`bench.protocol.columns`, `memcap columns module_evidence`); `curves`: `change`,
    `seed`, `epoch`, `loss`, `tau`; `signal`: a row for each layer before training, the table `module_signal`; `network`: the
    name, arguments, shapes and hash of what was diagnosed; `asked`: how it is trained, and on what; `ran`, `took`: where, when,
    and how many seconds that took.
    """

    verdict: Verdict
    findings: tuple[Finding, ...]
    evidence: pd.DataFrame
    curves: pd.DataFrame
    signal: pd.DataFrame
    network: Mapping[str, Any]
    asked: Mapping[str, Any]
    ran: Mapping[str, Any]
    took: Mapping[str, Any]

    def save(self, folder: str | Path) -> Path:
        """Leave the verdict, its tables and a page that works offline in a folder, in place of the diagnosis that was there.

        `memcap report FOLDER` makes the page again. Returns its path, FOLDER/report.html.

        Raises:
            bench.GridError: the folder is another's, or cannot be written to.
        """
        return keep(Path(folder), self)

    def __str__(self) -> str:
        first, *others = self.verdict.sentences
        parts = [_wrapped(first)]
        if self.verdict.code:
            parts.append("Change:\n" + "\n".join(f"    {line}" for line in self.verdict.code))
        if others:
            parts.append("\n".join(_wrapped(line, "* ") for line in others))
        parts.append("Before training:\n" + "\n".join(_wrapped(one.text, "! " if one.sure else "- ") for one in self.findings))
        if len(self.signal):
            parts.append("Signal and gradient by layer:\n\n" + _table(self.signal))
        if len(self.evidence):
            parts.append("What was trained:\n\n" + _shown(self.evidence))
        return "\n\n".join(parts)


def _wrapped(text: str, mark: str = "") -> str:
    return textwrap.fill(text, WIDTH, initial_indent=mark, subsequent_indent=" " * len(mark), break_on_hyphens=False)


def _table(table: pd.DataFrame) -> str:
    return table.to_string(index=False, na_rep="-", float_format=lambda value: f"{value:.3g}")


def _shown(evidence: pd.DataFrame) -> str:
    """The network as asked, and the variants that did best."""
    shown = in_order(evidence)
    # A line that says that there is one more is no shorter than that one.
    shown = shown.head(1 + MOST_ROWS) if len(shown) > 2 + MOST_ROWS else shown
    counts = [f"{a}/{b}" for a, b in zip(shown["n_memorized"], shown["n_seeds"], strict=True)]
    fresh = [f"{a}/{b}" if b else "" for a, b in zip(shown["n_fresh_memorized"], shown["n_fresh"], strict=True)]
    width = max(map(len, shown["change"]))
    table = pd.DataFrame(
        {
            "change".ljust(width): shown["change"].str.ljust(width),
            "seeds": counts,
            "fresh": fresh,
            "epoch": ["never" if math.isinf(value) else f"{value:.0f}" for value in shown["median_epoch_to_tau"]],
            "best tau": [_spelled(value) for value in shown["median_best_tau"]],
            "last tau": [_spelled(value) for value in shown["median_last_tau"]],
        }
    )
    more = len(evidence) - len(shown)
    return table.to_string(index=False) + (f"\n... and {more} more, in .evidence and the saved tables" if more > 0 else "")


def _spelled(value: float) -> str:
    return f"{value:.3g}" if math.isfinite(value) else "diverged"


def diagnose(
    module: object,
    batch: object = None,
    *,
    shapes: object = None,
    arguments: Mapping[str, Any] | None = None,
    loss: object = "mse",
    optimizer: object = "adam",
    batch_size: int | None = None,
    shuffle: bool = True,
    max_epochs: int = 1000,
    tau: float = 0.01,
    stop: object = None,
    measured: str = EVAL,
    seeds: Iterable[int] | int = SEEDS,
    budget_s: float | None = None,
    device: str | None = None,
    progress: bool = False,
) -> ModuleDiagnosis:
    """Look at a network, train copies of it and of variants on one batch, and say what keeps it from memorizing.

    The module that is given stays as it is, and so does the global random state.

    Args:
        module: a torch.nn.Module, whose copies are drawn anew by the `reset_parameters` of its parts; or a function that makes
            one, from `arguments` if there are any, and from a torch.Generator if it takes one as `generator`.
        batch: (x, y), tensors or arrays with one entry for each sample; x is a tuple where the module takes several inputs.
        shapes: in place of a batch, ((samples, ...), (samples, ...)): noise of these shapes, drawn anew for each seed; where
            the module takes several inputs, a tuple of their shapes stands first.
        loss: mse, mae, huber, cross_entropy, bce_with_logits, bce or hinge (squared), a loss of torch.nn, or a function of
            outputs and targets that gives one number.
        optimizer: sgd, adam, adamw, rmsprop or adagrad; (name, rate); a function of parameters that makes an optimizer; or
            an optimizer of the module's parameters, of which those that it was not given are then seen.
        batch_size, shuffle: samples of a step, None for all, and whether each epoch has a new order.
        max_epochs: passes over the batch.
        tau: memorized is a loss below floor + tau (constant - floor): that of the best constant output, and the least that
            any outputs can have that are equal where inputs are. For mse without equal inputs the share of the variance.
        stop: a stopping rule, `bench.Stop`, or a function of the losses so far that says whether to stop.
        measured: the mode in which tau is measured, eval or train.
        seeds: of the initial weights; what stands out is confirmed on fresh ones.
        budget_s: no training goes on beyond so many seconds. None: thirty, or fifteen times what the epochs of the network as
            asked take, of this process's own time (`bench.modules.clocks.own_time`), which a busy machine does not shorten.
        device: where to train; that of the module's parameters unless said.
        progress: show on the standard error stream how far it is.

    Raises:
        bench.GridError: a value that cannot be, or a module that raises; one line.

    >>> import torch
    >>> x = torch.arange(8.0)[:, None]
    >>> found = diagnose(torch.nn.Linear(1, 1), (x, x.sin()), optimizer=("sgd", 0.01), max_epochs=50)
    >>> found.verdict.cause.value
    'a linear network'
    """
    check_budget(budget_s)
    since = datetime.now(UTC)
    with quiet():
        asked = question(
            module,
            batch,
            shapes=shapes,
            arguments=arguments,
            loss=loss,
            optimizer=optimizer,
            batch_size=batch_size,
            shuffle=shuffle,
            max_epochs=max_epochs,
            tau=tau,
            stop=stop,
            measured=measured,
            seeds=seeds,
            device=device,
        )
    clock = time.monotonic if budget_s is not None else own_time()
    return diagnosed(asked, budget_s, clock, since=since, progress=progress)


def diagnosed(
    asked: Question, budget_s: float | None, clock: Clock, *, since: datetime, progress: bool = False
) -> ModuleDiagnosis:
    """The diagnosis of a question, which was asked at `since`: `budget_s`, and what it has without one, are by this clock."""
    with quiet(), Bar(shown=progress, stays=False) as bar:

        def told() -> None:
            ended = trainer.results.values()
            done = sum(not one.cut for one in ended)
            bar.show(inquiry.share, [f"{done} trained", f"{sum(one.memorized for one in ended)} memorized"])

        trainer = Trainer(asked.source, asked.batch, asked.facts, asked.device, clock, told)
        with as_many_as_pay(trainer.numbers):
            findings = looks(asked)
        inquiry = Inquiry(asked, findings, trainer, budget_s)
        if not any(one.about is Held.DATA for one in findings):
            inquiry.run()
    return ModuleDiagnosis(
        verdict=verdict(inquiry),
        findings=findings,
        evidence=_evidence(inquiry),
        curves=_curves(inquiry),
        signal=pd.DataFrame(asked.facts.layers, columns=list(Layer._fields)),
        network=asked.source.identity(),
        asked=_asked(asked, trainer),
        ran={"engine": "torch", "device": str(asked.device), "threads": torch.get_num_threads()},
        took={
            "started_at": since.isoformat(timespec="seconds"),
            "wall_time_s": round((datetime.now(UTC) - since).total_seconds(), 3),
        },
    )


def _asked(asked: Question, trainer: Trainer) -> dict[str, Any]:
    """How the network is trained, and on what, as plain values."""
    trial, seen, facts = asked.trial, asked.seen, asked.facts
    targets = seen.targets if isinstance(seen.targets, tuple) else (seen.targets,)
    trained = sum(own.numel() for own in asked.source.template.parameters() if own.requires_grad)
    return {
        "loss": trial.loss.name,
        "optimizer": trial.recipe.spelled(),
        "batch_size": trial.batch_size,
        "shuffle": trial.shuffle,
        "max_epochs": trial.max_epochs,
        "tau": trial.tau,
        "mode": trial.mode,
        "measured": trial.measured,
        "seeds": list(asked.seeds),
        "inputs": ", ".join(map(spelled, seen.inputs)),
        "targets": ", ".join(map(spelled, targets)),
        "n_samples": len(seen),
        "n_params": facts.n_params,
        "n_trained": trained,
        "n_outputs": facts.output.numel() if isinstance(facts.output, torch.Tensor) else len(seen),
        "jacobian_rank": facts.rank,
        "engine": "; ".join(f"one after the other: {reason}" for reason in trainer.why_alone) or "seeds and changes together",
    }


def _evidence(inquiry: Inquiry) -> pd.DataFrame:
    asked = inquiry.asked.trial
    return pd.DataFrame([_row(inquiry.tally(own), words(own, asked), levers(own, asked)) for own in inquiry.tried])


def _row(own: Tally, change: str, pulled: tuple) -> dict[str, Any]:
    epochs = [one.epoch_to_tau if one.epoch_to_tau is not None else math.inf for one in own.ladder]
    last = [one.last if math.isfinite(one.last) else math.inf for one in own.ladder]
    shares, fresh = wilson_interval(own.hits, len(own.ladder)), wilson_interval(own.fresh_hits, len(own.fresh))
    return {
        "change": change,
        "levers": " + ".join(pulled),
        "n_seeds": len(own.ladder),
        "n_memorized": own.hits,
        "fraction_low": shares[0],
        "fraction_high": shares[1],
        "n_fresh": len(own.fresh),
        "n_fresh_memorized": own.fresh_hits,
        "fresh_low": fresh[0],
        "fresh_high": fresh[1],
        "n_fresh_asked": own.beside_hits,
        "median_epoch_to_tau": float(np.median(epochs)) if epochs else math.nan,
        "median_best_tau": own.left if own.ladder else math.nan,
        "median_last_tau": float(np.median(last)) if last else math.nan,
        "n_diverged": sum(one.diverged for one in own.ladder),
        "n_cut": sum(one.cut for one in own.ladder),
        "together": all(one.together for one in own.ladder),
    }


def _curves(inquiry: Inquiry) -> pd.DataFrame:
    parts = []
    for trial in inquiry.tried:
        for seed, one in zip(inquiry.seeds, inquiry.tally(trial).ladder, strict=False):
            taus = [one.scale.tau(loss) for loss in one.losses.tolist()]
            change = words(trial, inquiry.asked.trial)
            parts.append(pd.DataFrame({"change": change, "seed": seed, "epoch": one.epochs, "loss": one.losses, "tau": taus}))
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=["change", "seed", "epoch", "loss", "tau"])
