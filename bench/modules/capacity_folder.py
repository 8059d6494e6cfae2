"""Trainings of somebody's own networks on noise as a folder: whose it is, what came of each training, the page.

What stands there is read again, never run.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd
from omegaconf import OmegaConf

from bench.modules.on_noise import Rows, Training
from bench.modules.sources import Source
from bench.protocol.columns import columns_of
from bench.protocol.grid import GridError
from bench.report.network_page import FOUND, TRAININGS, read_trainings
from bench.store import provenance
from bench.store.atomic import write_atomically
from bench.store.claims import Claim, claim
from bench.store.folder import forget, forget_partials, writable

# What such a folder holds. FOUND, which tells it from others, is the first to be written and the last to go.
CONTENTS = (TRAININGS, "config.yaml", "provenance.json", "tables", "figures", "findings.md", "report.html", FOUND)

# What makes a folder one of others.
OTHERS = ("plan.parquet", "diagnosis.json", "check.json")

REMEDY = "name a new run_dir, or write fresh=true to forget what it holds"


@contextmanager
def held(folder: Path, *, fresh: bool) -> Iterator[Claim]:
    """The folder, new, empty or of such networks, held while this lasts; `fresh`: what such networks left is forgotten.

    Raises:
        bench.GridError: it is another's, or cannot be written to.
        bench.store.claims.Claimed: another process writes there.
    """
    left = [name for name in (*CONTENTS, *OTHERS) if (folder / name).exists()]
    if left and (FOUND not in left or set(left) & set(OTHERS)):
        rule = f"holds {', '.join(left)}, but no trainings of a network of one's own"
        raise GridError("run_dir", str(folder), rule, "name a new folder, or that of such a run")
    writable(folder)
    with claim(folder, "run") as own:
        if fresh:
            with claim(folder, "report", waits=True):
                forget(folder, CONTENTS)
        forget_partials(folder, CONTENTS)
        yield own


def identity(sources: Iterable[tuple[str, Source]]) -> dict[str, dict[str, str]]:
    """What results are of: a hash of each network, by its arguments, and of each source that they are made of, by name.

    Of sources of one name that networks differ in there are the hashes of all, with spaces between.
    """
    networks: dict[str, str] = {}
    made: dict[str, str] = {}
    for name, source in sources:
        networks[name] = str(source.identity()["hash"])
        made = _united(made, source.sources())
    return {"networks": networks, "sources": made}


def _united(one: Mapping[str, str], other: Mapping[str, str]) -> dict[str, str]:
    return {**one, **{name: " ".join(sorted({*one.get(name, "").split(), *own.split()})) for name, own in other.items()}}


def begin(folder: Path, model: str, own: Mapping[str, Mapping[str, str]], asked: Mapping[str, Any]) -> Rows:
    """Write down whose the folder is; what came of the trainings that it holds already.

    Args:
        folder: is held.
        model: the network's name.
        own: its `identity`.
        asked: how it is trained, plain values.

    Raises:
        bench.GridError: the folder is of another model, of other sources, or of networks that were trained otherwise.
    """
    before: Mapping[str, Any] = {}
    trained = pd.DataFrame(columns=_COLUMNS)
    if (folder / FOUND).exists():
        try:
            known = json.loads((folder / FOUND).read_text(encoding="utf-8"))
            before = known["identity"]
            _refuse_other(folder, known, {"model": model, "identity": own, "asked": json.loads(json.dumps(asked))})
            if (folder / TRAININGS).exists():
                trained = read_trainings(folder)[_COLUMNS]
        except GridError:
            raise
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            rule = f"holds {FOUND} or {TRAININGS} that cannot be read"
            raise GridError("run_dir", str(folder), rule, REMEDY) from error
    both = {part: _united(before.get(part, {}), own[part]) for part in own}
    say(folder, model, both, asked)
    rows = trained.astype(object).where(trained.notna(), None).to_dict("records")
    return {Training(*(row[name] for name in Training._fields)): _typed(row) for row in rows}


def say(folder: Path, model: str, own: Mapping[str, Any], asked: Mapping[str, Any]) -> None:
    """Write what is known of a folder beside its trainings."""
    text = json.dumps({"model": model, "identity": own, "asked": asked}, indent=2) + "\n"
    write_atomically(folder / FOUND, lambda partial: partial.write_text(text, encoding="utf-8"))


def _refuse_other(folder: Path, before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    model = now["model"]
    if before["model"] != model:
        raise GridError("model", model, f"is not {before['model']}, which {folder} holds trainings of", REMEDY)
    for part, what in (("sources", "the source of {}"), ("networks", "the network {}")):
        known, own = before["identity"][part], now["identity"][part]
        for name in sorted(known.keys() & own.keys()):
            if not set(known[name].split()) & set(own[name].split()):
                told = what.format(name or "without arguments")
                raise GridError("model", model, f"is not what {folder} holds trainings of: {told} has changed", REMEDY)
    for name, value in now["asked"].items():
        if before["asked"][name] != value:
            told = json.dumps(before["asked"][name])
            raise GridError(name, value, f"is not {told}, with which the networks in {folder} were trained", REMEDY)


_COLUMNS = list(columns_of("network_trainings"))

# Columns that may be empty.
_WHOLE, _NUMBERS = ("batch_size", "n_params", "jacobian_rank"), ("epoch_to_tau", "best_tau", "final_tau")


def _typed(row: Mapping[Any, Any]) -> dict[str, Any]:
    """A row as `bench.modules.on_noise` gives it; an empty number is no number."""
    whole = {name: None if row[name] is None else int(row[name]) for name in _WHOLE}
    return {**row, **whole, **{name: float("nan") if row[name] is None else float(row[name]) for name in _NUMBERS}}


def table(rows: Rows) -> pd.DataFrame:
    """Trainings as the table `network_trainings`."""
    made = pd.DataFrame(list(rows.values()), columns=_COLUMNS)
    # Where all are empty, too.
    texts = dict.fromkeys(("status", "engine", "reason"), "string")
    return made.astype({**dict.fromkeys(_WHOLE, "Int64"), **dict.fromkeys(_NUMBERS, float), **texts})


def keep(folder: Path, made: pd.DataFrame) -> None:
    """Write what came of all trainings so far, a table of `table`, all of it or nothing."""
    write_atomically(folder / TRAININGS, lambda partial: made.to_parquet(partial, index=False))


def finish(folder: Path, config: Mapping[str, Any], ran: Mapping[str, Any], took: Mapping[str, Any]) -> None:
    """Add what ran to provenance.json, and write config.yaml.

    Args:
        folder: is held.
        config: the settings that were asked for, plain values.
        ran: engine, device and threads; `took`: when, how long, how many trainings.
    """
    text = OmegaConf.to_yaml(OmegaConf.create(dict(config)))
    write_atomically(folder / "config.yaml", lambda partial: partial.write_text(text, encoding="utf-8"))
    provenance.append(folder, {**took, **provenance.collect(**ran), "config": dict(config)})
