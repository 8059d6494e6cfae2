"""The folder of networks of one's own on noise -> tables, figures, page. It reads parquet and JSON, and runs nothing."""

from __future__ import annotations

import json
import math
import shlex
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd

from bench.protocol.columns import columns_of
from bench.report.blocks import image, inlined, render, table_html, where
from bench.report.build import FINDINGS
from bench.report.drawing import draw
from bench.report.failures import failures
from bench.report.lines import MOST_ROWS, Block, block_text, screen, wrapped
from bench.report.module_page import words_of
from bench.report.network_figures import capacity_picture, map_picture
from bench.report.network_findings import findings
from bench.report.pictures import Picture
from bench.report.words import trained_how
from bench.statistics.capacity import spell
from bench.statistics.own_networks import NETWORK, capacities, groups, in_bands, mapped
from bench.store import provenance
from bench.store.atomic import write_atomically
from bench.store.folder import held_for_report
from bench.store.tables import write_tables

# What is known of the networks beside their trainings, and what makes a folder one of them; and their trainings.
FOUND, TRAININGS = "networks.json", "trainings.parquet"

# Rows of a table that stand on the page.
MOST_SHOWN = 500


def read_trainings(folder: Path) -> pd.DataFrame:
    """The table `network_trainings` as a folder holds it.

    Raises:
        FileNotFoundError: it holds none.
        ValueError: the file is damaged.
    """
    table, columns = pd.read_parquet(folder / TRAININGS), list(columns_of("network_trainings"))
    if lacking := [name for name in columns if name not in table]:
        raise ValueError(f"it has no {', '.join(lacking)}: another version of memcap wrote it")
    return table[columns]


def report_networks(folder: Path, *, table: bool) -> str:
    """Write the report of a folder, and print the findings, the page's path and N50 of each network, all rows with `table`.

    Returns:
        A line on the trainings that failed; nothing where none did.
    """
    path, shown = build_networks(folder), screen()
    print()
    for number, line in enumerate((folder / FINDINGS).read_text(encoding="utf-8").splitlines()):
        text = wrapped(line.removeprefix("- "), shown, "* ", "  ")
        print(text if number else shown.styled(text, "bold"))
    print(f"\nmemcap: report in {path}")
    capacity = pd.read_csv(folder / "tables" / "network_capacity.csv", dtype={"model_args": str})
    if len(capacity):
        print(f"\n{block_text(_block(capacity), shown, None if table else MOST_ROWS)}")
    return _failed(read_trainings(folder))


def _failed(trainings: pd.DataFrame) -> str:
    return failures(trainings, "trainings", "tables/network_trainings.csv")


def build_networks(folder: Path) -> Path:
    """Write tables, figures, findings.md and report.html of a folder; returns the page's path.

    Another report of the folder is waited for.

    Raises:
        FileNotFoundError: no training of it came to its end yet.
    """
    with held_for_report(folder):
        found = json.loads((folder / FOUND).read_text(encoding="utf-8"))
        tables = _made(folder, found)
        write_tables(folder / "tables", tables)
        return _page(folder, found, tables)


def _made(folder: Path, found: Mapping[str, Any]) -> dict[str, pd.DataFrame]:
    """The tables of a folder."""
    if not (folder / TRAININGS).exists():
        raise FileNotFoundError(f"{folder}: holds no training that came to its end; the command of its run trains them")
    try:
        trainings = read_trainings(folder)
    except ValueError as error:
        remedy = "its command with fresh=true trains them again"
        raise FileNotFoundError(f"{folder / TRAININGS}: cannot be read, {' '.join(str(error).split())}; {remedy}") from error
    asked = found["asked"]
    return {
        "network_capacity": capacities(trainings, searched=asked["searched"], outputs=math.prod(asked["shapes"][1])),
        "network_groups": groups(trainings),
        "network_trainings": _ordered(trainings),
    }


def _page(folder: Path, found: Mapping[str, Any], tables: Mapping[str, pd.DataFrame]) -> Path:
    asked, name = found["asked"], found["model"].rpartition(":")[2]
    capacity, trainings = tables["network_capacity"], tables["network_trainings"]
    outputs = math.prod(asked["shapes"][1])
    sentences = findings(tables["network_groups"], capacity, name, asked)
    if failed := _failed(trainings):
        sentences.append(f"{failed}.")
    drawings: list[Any] = [
        partial(map_picture, mapped(trainings), _ranks(trainings), name, asked, outputs, banded=in_bands(trainings))
    ]
    drawings += [partial(capacity_picture, capacity, outputs)] if len(capacity) else []
    (folder / "figures").mkdir(exist_ok=True)
    drawn = draw(drawings, folder / "figures", processes=1)
    pictures = [one for one in drawn if isinstance(one, Picture)]
    sentences += [one for one in drawn if isinstance(one, str)]
    run: Mapping[str, Any] = next(reversed(provenance.read(folder)), {})
    text = render(
        "network.html",
        title="How many samples of noise does it hold?",
        name=name,
        subtitle=_subtitle(trainings, name, asked),
        sentences=sentences,
        pictures=pictures,
        images={one.name: image(folder / "figures" / f"{one.name}.png") for one in pictures},
        tables=_tables(tables),
        tau=f"{asked['tau']:g}",
        facts=_facts(found, run, trainings),
        command=_commands(folder),
        style=inlined("told.css"),
    )
    lines = "".join(f"- {sentence}\n" for sentence in sentences)
    write_atomically(folder / FINDINGS, lambda own: own.write_text(lines, encoding="utf-8"))
    write_atomically(folder / "report.html", lambda own: own.write_text(text, encoding="utf-8"))
    return folder / "report.html"


def _ordered(trainings: pd.DataFrame) -> pd.DataFrame:
    """By network, in the order in which these were asked for, then rate, samples and seed."""
    place = {name: number for number, name in enumerate(dict.fromkeys(trainings["model_args"]))}
    return trainings.sort_values(
        [*NETWORK, "n_samples", "seed"],
        na_position="first",
        key=lambda own: own.map(place) if own.name == "model_args" else own,
        ignore_index=True,
    )


def _ranks(trainings: pd.DataFrame) -> pd.Series:
    """Of each network; of one all of whose trainings failed it may not be known."""
    return trainings.groupby("model_args", sort=False)["jacobian_rank"].first().astype("Float64")


def _block(capacity: pd.DataFrame) -> Block:
    """N50 of each network for a terminal."""
    rows = capacity.to_dict("records")
    shown = pd.DataFrame(
        {
            "network": ["" if pd.isna(row["model_args"]) else row["model_args"] for row in rows],
            "trained": list(trained_how(capacity)),
            "n_params": [f"{row['n_params']:,}" for row in rows],
            "rank": ["" if pd.isna(row["jacobian_rank"]) else f"{row['jacobian_rank']:,.0f}" for row in rows],
            "N50 (95 %)": [spell(row) for row in rows],
            "n50_per_rank": ["" if pd.isna(row["n50_per_rank"]) else f"{row['n50_per_rank']:.2f}" for row in rows],
        }
    )
    title = "N50: the sample count that half of the seeds memorize, with its 95 % interval"
    return Block(title, shown, ["network"], ["n_params", "rank"], "tables/network_capacity.csv")


# What each table is called on the page.
TITLES = {
    "network_capacity": "N50 of each network",
    "network_groups": "Each network at each sample count",
    "network_trainings": "Each training",
}


def _tables(tables: Mapping[str, pd.DataFrame]) -> list[dict[str, Any]]:
    """What stands on the page of each table, without columns that are empty in all rows."""
    return [
        {
            "name": name,
            "title": TITLES[name],
            "html": table_html(own.dropna(axis="columns", how="all").head(MOST_SHOWN), name.replace("_", "-"), name),
            "more": max(0, len(own) - MOST_SHOWN),
        }
        for name, own in tables.items()
        if len(own)
    ]


def _subtitle(trainings: pd.DataFrame, name: str, asked: Mapping[str, Any]) -> str:
    networks, sizes = trainings.drop_duplicates(NETWORK), trainings["n_params"].dropna()
    size = f"{sizes.min():,}" if sizes.min() == sizes.max() else f"{sizes.min():,} to {sizes.max():,}"
    many = "s" if len(networks) > 1 else ""
    trained = f"{asked['loss']}, {_optimizers(trainings)}, up to {asked['max_epochs']:,} epochs"
    of = f"{len(networks)} network{many}{f' of {size} parameters' if len(sizes) else ''}, {len(trainings):,} trainings"
    return f"{name}: {of} on N(0, 1) inputs and targets; {trained}."


def _optimizers(trainings: pd.DataFrame) -> str:
    return " and ".join(dict.fromkeys(trainings["optimizer"]))


def _facts(found: Mapping[str, Any], run: Mapping[str, Any], trainings: pd.DataFrame) -> list[tuple[str, str]]:
    asked, identity = found["asked"], found["identity"]
    sizes = trainings["batch_size"].drop_duplicates().sort_values(na_position="first")
    size = " or ".join("all samples" if pd.isna(own) else f"{own:,} samples" for own in sizes)
    given, targets = asked["shapes"]
    inputs = " and ".join(str(tuple(shape)) for shape in (given if given and isinstance(given[0], list) else [given]))
    facts = {
        "Network": found["model"],
        "Hashes of its sources": ", ".join(f"{name} {own}" for name, own in identity["sources"].items()),
        "Data": f"N(0, 1), drawn anew for each seed: a sample's inputs {inputs}, its targets {tuple(targets)}",
        "Loss": asked["loss"],
        "Training": f"{_optimizers(trainings)}, {size} a step, {asked['max_epochs']:,} epochs",
        "Measured": f"in {asked['measured']} mode, to tau {asked['tau']:g}",
        "Sample counts": "searched" if asked["searched"] else "as asked",
    }
    if run:
        alone = "; ".join(run.get("one_after_the_other") or ())
        facts["Stacked"] = f"one after the other: {alone}" if alone else "rates and seeds of a network together"
        facts |= {"Device": str(run.get("device") or ""), **{key.capitalize(): text for key, text in where(run).items()}}
        started = str(run.get("started_at") or "").replace("T", " ").replace("+00:00", " UTC")
        facts["When"] = f"{started}, {run['wall_time_s']:.0f} s" if run.get("wall_time_s") is not None else started
    return [(key, text) for key, text in facts.items() if text]


def _commands(folder: Path) -> str:
    """How to make all that the folder holds again, a line for each command that added to it; nothing where no command did."""
    configs = [dict(run.get("config") or {}) for run in provenance.read(folder)]
    return "\n".join(dict.fromkeys(_command(config) for config in configs if "model" in config))


def _command(config: dict[str, Any]) -> str:
    # Into the folder as it stands; what a line forgot is not there any more.
    config.pop("fresh", None)
    for group in ("grid", "search"):
        config |= {f"{group}.{name}": value for name, value in (config.pop(group, None) or {}).items()}
    swept = config.pop("grid.model_args", None) or {}
    config |= {f"grid.model_args.{name}": value for name, value in swept.items()}
    return shlex.join(["memcap", "run", *words_of(config)])
