"""The maps on the page: what their cells say, where their lines run, and that they can be read, whatever stands in a run."""

from __future__ import annotations

import base64
import hashlib
import math
import re
from xml.etree import ElementTree

import matplotlib
import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex

import bench
from bench.report import map_layers, map_svg, palette, sparks
from bench.report.blocks import inlined
from bench.report.build import build
from bench.report.findings import findings
from bench.report.map_layers import BESIDE, OWN
from bench.statistics.survival import wilson_interval
from tests.report.synthetic import write_run
from tests.report.test_report import rows_of
from tests.statistics.tables import tables

COUNTS = [16, 32, 64, 128, 256]

# Widths 4 and 8 of 8 inputs have 37 and 73 dimensions at depth 1, 53 and 137 at depth 2.
DIMENSIONS = {(1, 4): 37, (1, 8): 73, (2, 4): 53, (2, 8): 137}


@pytest.fixture(scope="module")
def made():
    cells = bench.expand(depth=[1, 2], width=[4, 8], n_samples=COUNTS, regularization=["none", "dropout"], seed=range(5))

    def epoch(cell):
        reach = DIMENSIONS[cell.depth, cell.width] * (0.4 if cell.dropout else 0.9) * (1 + 0.25 * (cell.data_seed - 2))
        return round(10 * cell.n_samples * (3 if cell.dropout else 1)) if cell.n_samples <= reach else None

    rows = rows_of(cells, epoch)
    # On the way each had reached 0.5 in half the time, and the others at the end.
    halves = (rows["epoch_to_tau"].astype(float) / 2).fillna(4000).round().astype("Int64")
    return tables(rows.assign(**{"epoch_to_0.5": halves, "epoch_to_0.1": rows["epoch_to_tau"]}))


@pytest.fixture(scope="module")
def maps(made):
    return map_layers.maps(made)


@pytest.fixture(scope="module")
def drawn(maps):
    """The panels of each map as trees."""
    shared = map_svg.geometries(maps)
    return [[ElementTree.fromstring(p) for p in map_svg.panels(own, its)] for own, its in zip(maps, shared, strict=True)]


def layers(panel) -> dict[str, list]:
    """The cells of a panel by the layer that they are in."""
    return {
        layer.get("data-at"): [cell for cell in layer if (cell.get("class") or "").startswith("c ")]
        for layer in panel.iter("g")
        if layer.get("data-at") and "n50" not in layer.get("class")
    }


def lines_of(cell) -> list[str]:
    return [text.text for text in cell.iter("text")]


def test_nothing_moves_between_thresholds_settings_and_differences(maps, drawn):
    assert [own.words for own in maps] == ["no regularization", "dropout 0.1"]
    assert set(layers(drawn[1][0])) == {OWN, "0.1", "0.5", f"{OWN}{BESIDE}", f"0.1{BESIDE}", f"0.5{BESIDE}"}
    places: dict[tuple[int, str], set] = {}
    for panels in drawn:
        for number, panel in enumerate(panels):
            for cells in layers(panel).values():
                for cell in cells:
                    box = cell.find("rect")
                    place = (cell.get("transform"), box.get("width"), box.get("height"), panel.get("viewBox"))
                    places.setdefault((number, cell.get("data-p")), set()).add(place)
    assert len(places) == 20 and all(len(place) == 1 for place in places.values())
    # Drawn as large as it is made: its text has the size that the style sheet says.
    assert all(
        f"0 0 {panel.get('width')} {panel.get('height')}" == panel.get("viewBox") for panels in drawn for panel in panels
    )


def test_protocols_trained_on_counts_of_their_own_do_not_leave_each_other_empty_maps():
    fields = {"optimizer": "sgd", "dtype": "float64", "loss": "mse", "lr_schedule": "cosine", "tau": 0.001}
    mine, other = [8, 16, 32, 64], [10, 20, 40, 80, 160]
    cells = bench.expand(depth=1, width=[4, 8], n_samples=mine, init="orthogonal", seed=range(2))
    cells += bench.expand(depth=1, width=[16, 32], n_samples=other, seed=range(2), target="uniform", **fields)
    made = tables(rows_of(cells, lambda c: 50))
    maps = map_layers.maps(made)
    assert [(its.rows, its.columns) for its in map_svg.geometries(maps)] == [(mine, [4, 8]), (other, [16, 32])]
    # Nor is the one said to be so many times the other, or the first a setting to be told by.
    assert not any(layer.key.endswith(BESIDE) for own in maps for layer in own.layers)
    assert findings(made)[0].startswith("Given at most half as many samples as their ceiling, networks memorized in ")


def test_cells_say_what_the_table_says_and_the_budget_stands_in_the_key_alone(made, maps, drawn):
    said = {}
    for panel in (panel for panels in drawn for panel in panels):
        for cell in layers(panel)[OWN]:
            said[int(cell.get("data-g"))] = cell
    assert set(said) == set(range(len(made.groups)))
    for number, group in enumerate(made.groups.to_dict("records")):
        median, k, n = group["median_epoch_to_tau"], group["n_memorized"], group["n_seeds"]
        cell = said[number]
        expected = [f"{median:.0f}"] if math.isfinite(median) else []
        assert lines_of(cell) == expected + ([f"{k}/{n}"] if 0 < k < n else [])
        assert (cell.get("class") == "c h") == math.isinf(median)
        low, high = (f"{100 * end:.0f}" for end in wilson_interval(k, n))
        told = cell.find("title").text
        assert f"{group['n_samples']} samples ({group['n_samples'] / group['functional_dim']:.2f} of the ceiling)" in told
        assert f"{k} of {n} seeds memorized (95 %: {low} to {high} %)" in told
    assert not any(">5000" in text or text == "5000" for cell in said.values() for text in lines_of(cell))
    meanings = [meaning for _, meaning in map_svg.key(maps, map_layers.colour_ends(made), "the ceiling")]
    assert sum("5000" in meaning for meaning in meanings) == 1


def test_a_title_counts_what_its_map_shows(made, maps):
    (plain, dropout), groups = maps, made.groups
    for own, setting in ((plain, "no regularization"), (dropout, "dropout")):
        of = groups[groups["setting"] == setting]
        most, within = of["fraction_memorized"] >= 0.5, of["n_samples"] <= of["functional_dim"]
        counts = [((most & side).sum(), side.sum()) for side in (within, ~within)]
        (up, of_up), (above, of_above) = counts
        assert own.layers[0].title.endswith(
            f"in {up} of {of_up} combinations up to the ceiling, in {above} of {of_above} above it."
        )
    assert dropout.layers[0].title.startswith("Dropout 0.1: half of the seeds or more memorize in")


def test_beside_the_baseline_a_cell_says_how_many_times_the_epochs_or_which_seeds_are_lost(made, maps, drawn):
    (layer,) = [layer for layer in maps[1].layers if layer.key == f"{OWN}{BESIDE}"]
    keyed = {(g["setting"], g["depth"], g["n_samples"], g["width"]): g for g in made.groups.to_dict("records")}
    seen = set()
    for (depth, count, width), spot in layer.spots.items():
        own, first = (keyed[setting, depth, count, width] for setting in ("dropout", "no regularization"))
        if math.isfinite(own["median_epoch_to_tau"]):
            assert spot.note == "\u00d73" and spot.shade == f"d{palette.delay_step(3)}"
        else:
            counts = first["n_memorized"], own["n_memorized"]
            assert (spot.shade, spot.note) == ("h", "" if counts == (0, 0) else "{}\u2192{}".format(*counts))
        seen.add(spot.shade)
    assert len(seen) == 2
    assert "times the epochs where both memorize, 3 in the median of" in layer.title


def test_the_ceiling_runs_between_counts_and_no_line_through_a_number(drawn):
    for panel, depth in zip(drawn[0], (1, 2), strict=True):
        cells = layers(panel)[OWN]
        corners = {cell.get("data-p"): [int(v) for v in re.findall(r"\d+", cell.get("transform"))] for cell in cells}
        wide, high = (int(cells[0].find("rect").get(name)) for name in ("width", "height"))
        (path,) = [own.get("d") for own in panel.iter("path") if own.get("class") == "ceiling"]
        flat = set()
        for x, y, to_x, to_y in (map(float, move) for move in re.findall(r"M([\d.]+) ([\d.]+)L([\d.]+) ([\d.]+)", path)):
            # On the edges of cells, along one.
            assert all((at - corners["0,0"][0]) % wide == 0 for at in (x, to_x))
            assert all((at - corners["0,0"][1]) % high == 0 for at in (y, to_y))
            if y == to_y:
                flat.add((int(x - corners["0,0"][0]) // wide, y))
        for column, width in enumerate((4, 8)):
            above = next(k for k, count in enumerate(COUNTS) if count > DIMENSIONS[depth, width])
            assert (column, corners[f"{above - 1},{column}"][1]) in flat


def test_n50_stands_at_its_sample_count_beside_the_numbers(made, maps, drawn):
    own, panel = maps[0], drawn[0][0]
    geometry = map_svg.geometries(maps)[0]
    (marked,) = [group for group in panel.iter("g") if "n50" in (group.get("class") or "")]
    signs = [path.get("d") for path in marked if path.get("class") == "sign" and map_svg.DIAMOND in path.get("d")]
    known = [mark for (depth, _), mark in own.marks.items() if depth == 1 and mark.known == "value"]
    assert len(signs) == len(known) > 0
    heights = sorted(float(re.findall(r"M[\d.]+ ([\d.]+)", d)[0]) for d in signs)
    counts = np.log(COUNTS)
    places = [np.interp(math.log(mark.n50), counts, np.arange(len(COUNTS)) + 0.5) for mark in known]
    assert heights == pytest.approx(sorted(geometry.point(0, place)[1] for place in places), abs=0.1)
    # The numbers end where the lane begins.
    for cell in layers(panel)[OWN]:
        for text in cell.iter("text"):
            assert float(text.get("x")) + len(text.text) * map_svg.EM * map_svg.FONT / 2 <= geometry.cell[0] - geometry.lane


def test_text_can_be_read_on_every_colour_and_in_both_schemes():
    shades = re.findall(r"\.(\w+) rect\{fill:(#\w{6})\}\.\1 text\{fill:(#\w{6})\}", map_svg.style())
    assert len(shades) == len(palette.EPOCHS) + len(palette.DELAYS)
    assert min(palette.contrast(face, text) for _, face, text in shades) >= 4.5
    sheet = inlined("layout.html") + inlined("page.css")
    in_dark = r"prefers-color-scheme: dark\) \{\s*:root \{(.*?)\}"
    light, own = (
        dict(re.findall(r"--(\w+): (#\w{6})", text))
        for text in (re.sub(in_dark, "", sheet, flags=re.DOTALL), "".join(re.findall(in_dark, sheet, re.DOTALL)))
    )
    dark = light | own
    assert light["paper"] != dark["paper"] and light["beyond"] != dark["beyond"]
    for scheme in (light, dark):
        for text in ("ink", "quiet", "accent"):
            for face in ("paper", "soft"):
                assert palette.contrast(scheme[text], scheme[face]) >= 4.5, (text, face)
        # Text on hatching has a halo of the face.
        assert palette.contrast(scheme["ink"], scheme["beyond"]) >= 4.5
    assert palette.contrast(light["ceiling"], palette.LIGHT) >= 3


def test_no_text_of_a_map_is_smaller_than_eleven_pixels():
    sizes = [float(size) for size in re.findall(r"font-size: ([\d.]+)px", inlined("page.css"))]
    assert min(sizes) >= 11 == map_svg.FONT
    assert not re.search(r"font-size", map_svg.style())


def test_the_colours_are_those_of_viridis_and_darken_all_the_way():
    steps = [to_hex(colour) for colour in matplotlib.colormaps["viridis_r"](np.linspace(0, 1, len(palette.EPOCHS)))]
    assert list(palette.EPOCHS) == steps
    lights = [palette.contrast(colour, palette.DARK) for colour in palette.EPOCHS]
    assert lights == sorted(lights, reverse=True)


def test_every_text_of_a_run_is_escaped_and_nothing_but_the_pages_own_scripts_runs(tmp_path):
    bad = "<img src=x onerror=alert(1)>\"'&</script><script>alert(2)</script>"
    cells = bench.expand(
        depth=[1, 2],
        width=[4, 8],
        n_samples=[8, 32, 64],
        regularization={"none": {}, bad: {"dropout": 0.1}, "b<b>": {"dropout": 0.1, "weight_decay": 0.01}},
        seed=range(2),
    )
    folder = write_run(tmp_path / "run", cells)
    page = build(folder).read_text()
    assert "<img src=x" not in page and "alert(2)</script>" not in page and "<b>>" not in page and "b<b>" not in page
    (policy,) = re.findall(r'http-equiv="Content-Security-Policy" content="([^"]*)"', page)
    assert policy.startswith("default-src 'none'; img-src data:; script-src 'sha256-") and "unsafe" not in policy
    assert "http" not in policy and policy.endswith("base-uri 'none'; form-action 'none'")
    for kind in ("script", "style"):
        blocks = re.findall(rf"<{kind}>(.*?)</{kind}>", page, re.DOTALL)
        hashes = [base64.b64encode(hashlib.sha256(block.encode()).digest()).decode() for block in blocks]
        assert hashes and all(f"'sha256-{value}'" in policy for value in hashes)
    markup = re.sub(r"<script.*?</script>|<style>.*?</style>", "", page, flags=re.DOTALL)
    assert not re.search(r"<[^>]*\s(?:style|on\w+)=", re.sub(r'"[^"]*"', '""', markup))


def test_a_page_of_very_many_groups_leaves_out_thresholds_rather_than_grow_without_bound():
    cells = bench.expand(depth=[1, 2, 4], width=list(range(4, 44)), n_samples=list(range(10, 260, 10)), seed=[0])
    made = tables(rows_of(cells, lambda c: 50 if c.n_samples < 9 * c.width else None))
    (own,) = map_layers.maps(made)
    assert own.layers[0].key == OWN and len(own.layers) < 4
    spots = sum(len(layer.spots) for layer in own.layers)
    assert 3000 <= spots <= map_layers.MOST_SPOTS
    size = sum(map(len, map_svg.panels(own, map_svg.geometries([own])[0])))
    assert size / spots < 450


def test_a_curve_in_the_table_is_its_own_thinned_and_rounded():
    rng = np.random.default_rng(0)
    epochs = np.unique(np.geomspace(1, 4000, 60).astype(int))
    curves = pd.concat(
        [
            pd.DataFrame(
                {"cell_id": name, "epoch": [0, *epochs[:end]], "tau": [1.1, *np.exp(-rng.uniform(0, 9, end)).cumprod() ** 0.05]}
            )
            for name, end in (("a", len(epochs)), ("b", 20), ("c", 1))
        ]
    )
    told = sparks.sparks(curves, ["c", "b", "a", "none"], 4000)
    at = np.unique(np.geomspace(1, 4000, sparks.POINTS).round())
    step = math.log(sparks.MOST_TAU / sparks.LEAST_TAU) / (len(sparks.ALPHABET) - 1)
    assert told[3] == "" and max(map(len, told)) <= sparks.POINTS + 1
    for name, letters in zip("cba", told, strict=False):
        own = curves[curves["cell_id"] == name]
        taus = [sparks.MOST_TAU * math.exp(-step * sparks.ALPHABET.index(letter)) for letter in letters]
        shown = [*at[at < own["epoch"].iloc[-1]], own["epoch"].iloc[-1]]
        exact = [own.loc[own["epoch"] <= epoch, "tau"].iloc[-1] for epoch in shown]
        assert len(taus) == len(exact)
        assert np.abs(np.log(taus) - np.log(exact)).max() <= step / 2 + 1e-9
