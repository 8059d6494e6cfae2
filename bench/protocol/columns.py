"""The columns of every table that this program writes: name, unit, meaning and source of each, in one list.

`tables/README.md` of a run, the tooltips of report.html and `memcap columns` are written from it, the code that makes a table
takes its columns from it, and a test holds every table to it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from bench.protocol.cells import LADDER
from bench.protocol.fields import FIELD_LIST
from bench.protocol.noise import VALIDATION_FIELDS
from bench.protocol.theory import GRIGSBY


class Column(NamedTuple):
    """A column of a table.

    Attributes:
        name: as it stands in the table.
        unit: one of UNITS_IN_WORDS, or a unit of measurement; "1" for a number without one.
        meaning: of one entry.
        source: the file in bench/ that computes it, and the publication that it follows; "asked" for a field of a cell.
    """

    name: str
    unit: str
    meaning: str
    source: str


class Table(NamedTuple):
    """A table: what one row is, and its columns in their order."""

    row: str
    columns: tuple[Column, ...]


ASKED = "asked"

# What is no measurement.
UNITS_IN_WORDS = {
    "name": "one of a few names",
    "text": "words",
    "true or false": "a choice",
    "seed": "a number that names a random draw",
}

FIELD_COLUMNS = tuple(Column(field.name, field.unit, field.meaning, ASKED) for field in FIELD_LIST)

_RATE_DISTORTION = "rate-distortion of a Gaussian"

_BY_NAME = {column.name: column for column in FIELD_COLUMNS}


def _fields(*names: str, but: tuple[str, ...] = ()) -> tuple[Column, ...]:
    """The fields of these names in this order; all `but` some where none is named."""
    return tuple(_BY_NAME[name] for name in names or _BY_NAME if name not in but)


_GROUP_FIELDS = _fields(but=("data_seed", "init_seed"))

_SETTING = Column("setting", "text", "what varies beside depth, width and n_samples, with its values", "statistics/settings.py")
_CELL_ID = Column(
    "cell_id", "text", "16 hexadecimal digits, a hash of all fields and of the protocol's version", "protocol/cells.py"
)
_SIZES = (
    Column("n_params", "parameters", "P, the number of weights and biases", "protocol/networks.py"),
    Column(
        "functional_dim",
        "dimensions",
        "upper bound on the number of dimensions of the functions that the trained parameters reach: P - depth*width for"
        " relu and leaky_relu, else P; width + 1 for each output of a trained readout; of labels less one for each unit that"
        " the outputs see, and one",
        f"protocol/networks.py; {GRIGSBY}",
    ),
)


def _ends(name: str, of: str, unit: str, source: str, more: str = "") -> tuple[Column, ...]:
    """The two ends of a 95 % interval."""
    return tuple(
        Column(f"{name}_{end}", unit, f"{end} end of the 95 % interval of {of}{more}", source) for end in ("low", "high")
    )


_SURVIVAL = "statistics/survival.py"
_WILSON = "Wilson 1927, doi 10.1080/01621459.1927.10502953"
_AS_MANY_AS = "; counts as many independent cells as the spread between seeds allows, where data and init seeds are swept apart"


def _fraction(source: str) -> tuple[Column, ...]:
    """The share of a group that memorized, with its interval."""
    return (
        Column("fraction_memorized", "fraction", "n_memorized / n_seeds", source),
        *_ends("fraction", "fraction_memorized", "fraction", f"{source}, statistics/clusters.py; {_WILSON}", _AS_MANY_AS),
    )


_N_MEMORIZED = Column("n_memorized", "cells", "how many of n_seeds reached tau", _SURVIVAL)
_N_SEEDS = Column("n_seeds", "cells", "cells of the group that have a result; failed and pending cells have none", _SURVIVAL)
_MEDIAN_EPOCH = Column(
    "median_epoch_to_tau",
    "epochs",
    "the epoch by which half of the seeds had reached tau (the Kaplan-Meier median); infinite where fewer did",
    _SURVIVAL,
)
_MEDIAN_TAU = Column(
    "median_final_tau",
    "of the variance",
    "median of final_tau over the seeds; an infinite one counts, one that is not a number does not",
    _SURVIVAL,
)

_MEASURED = "engines/record.py"
_TO_TAU = "the first epoch at which the training loss / target variance was at most"
_CELLS = (
    _CELL_ID,
    *FIELD_COLUMNS,
    *_SIZES,
    Column(
        "target_variance",
        "target units^2",
        "variance of the targets trained on, by which tau divides; of targets that do not vary, that of their distribution;"
        " of labels the entropy of their frequencies, in nats",
        "protocol/noise.py",
    ),
    Column(
        "status",
        "name",
        "how the cell ended: memorized, censored (budget spent), early_stopped, diverged (loss not finite), failed (an error),"
        " pending (not trained yet)",
        "engines/record.py, runs/executors/local.py, store/parts.py",
    ),
    Column("reason", "text", "why a cell failed, diverged or stopped early", "engines/record.py, runs/executors/local.py"),
    Column(
        "epoch_to_tau",
        "epochs",
        f"{_TO_TAU} tau; with criterion=recall at which every label was right; empty: never",
        _MEASURED,
    ),
    Column("steps_to_tau", "optimizer steps", "optimizer steps up to epoch_to_tau", "store/schema.py"),
    *(
        Column(
            f"epoch_to_{rung:g}",
            "epochs",
            f"{_TO_TAU} {rung:g}; empty: not before training ended, and it ends at the cell's own tau",
            _MEASURED,
        )
        for rung in LADDER
    ),
    Column("epochs_run", "epochs", "how many epochs the cell trained", _MEASURED),
    Column(
        "final_tau", "of the variance", "tau when training ended: training loss / variance of the training targets", _MEASURED
    ),
    Column("best_tau", "of the variance", "the lowest tau of any epoch", _MEASURED),
    Column(
        "final_val_mse",
        "target units^2",
        "validation MSE (with another loss that one) when training ended; empty without n_val",
        _MEASURED,
    ),
    Column("best_val_mse", "target units^2", "the lowest validation MSE of any epoch; empty without n_val", _MEASURED),
    Column("best_val_epoch", "epochs", "the epoch of best_val_mse", _MEASURED),
    Column(
        "memorized_bits",
        "bits",
        "n_samples * log2(1 / final_tau) / 2 for each output, what the fit proves stored; 0 where final_tau is above 1,"
        " infinite where it is 0; of labels n_samples * log2(n_classes) less the sum of -log2 p(label), 0 where that is below"
        " it; empty for other targets that are not normal",
        f"store/schema.py; {_RATE_DISTORTION}",
    ),
    Column("bits_per_param", "bits / parameter", "memorized_bits / n_params", "store/schema.py"),
    Column(
        "jacobian_rank",
        "dimensions",
        "rank of the derivatives of each training prediction by each trained parameter when the cell ended, to compare with"
        " functional_dim; empty unless jacobian_rank=true, where the cell diverged, and where they are too many",
        "protocol/jacobian.py; Bona-Pellissier, Malgouyres and Bachoc 2024, arXiv 2402.08269",
    ),
    Column("train_time_s", "s", "the cell's share of the time that its pack trained", _MEASURED),
    Column("engine", "name", "the engine that trained the cell", "engines/api.py"),
    Column("device", "text", "where it trained: the CPU with its instructions (cpu avx2), or the GPU's name", "engines/api.py"),
    Column("recalled", "labels", "how many labels were right when training ended; empty without labels", _MEASURED),
    Column("epoch_to_recall", "epochs", "the first epoch at which every label was right; empty: never", _MEASURED),
    Column("epoch_to_recall_99", "epochs", "the first epoch at which 99 % of the labels were right; empty: never", _MEASURED),
    Column(
        "calibrated_bits",
        "bits",
        "memorized_bits of labels after all outputs are multiplied by the one number, 1 / temperature, at which the training"
        " set costs least: all of them where every label is right",
        "protocol/labels.py",
    ),
    Column("calibrated_bits_per_param", "bits / parameter", "calibrated_bits / n_params", "store/schema.py"),
    Column(
        "unstored_fraction",
        "fraction",
        "1 - memorized_bits / (n_samples * log2(n_classes)), what the labels still cost of what there is; of labels alone",
        "store/schema.py",
    ),
)

_GROUPS = (
    _SETTING,
    *_GROUP_FIELDS,
    *_SIZES,
    Column("load", "samples / parameter", "n_samples / n_params", _SURVIVAL),
    _N_SEEDS,
    _N_MEMORIZED,
    Column("n_censored", "cells", "how many spent the budget without reaching tau", _SURVIVAL),
    Column("n_early_stopped", "cells", "how many early stopping ended", _SURVIVAL),
    Column("n_diverged", "cells", "how many had a loss that was not finite", _SURVIVAL),
    Column("n_failed", "cells", "how many ended in an error; they count in no other column", _SURVIVAL),
    Column("n_pending", "cells", "how many are planned and not trained yet; they count in no other column", _SURVIVAL),
    *_fraction(_SURVIVAL),
    _MEDIAN_EPOCH,
    Column(
        "expected_running_time",
        "epochs",
        "epochs spent by all seeds over the number of seeds that memorized; infinite where none did",
        _SURVIVAL,
    ),
    _MEDIAN_TAU,
    Column("median_best_val_mse", "target units^2", "median of best_val_mse", _SURVIVAL),
    Column("median_bits_per_param", "bits / parameter", "median of bits_per_param", _SURVIVAL),
)

_THRESHOLD_SOURCE = "statistics/thresholds.py"
_THRESHOLDS = (
    _SETTING,
    *_GROUP_FIELDS,
    Column(
        "threshold",
        "of the variance",
        f"one of {', '.join(f'{rung:g}' for rung in LADDER)} above the cells' own tau, or that tau; empty: that every label is"
        " right (criterion=recall)",
        _THRESHOLD_SOURCE,
    ),
    _N_SEEDS._replace(source=_THRESHOLD_SOURCE),
    Column("n_memorized", "cells", "how many of n_seeds reached the threshold", _THRESHOLD_SOURCE),
    *_fraction(_THRESHOLD_SOURCE),
    Column(
        "median_epoch_to_tau",
        "epochs",
        "the epoch by which half of the seeds had reached the threshold; infinite where fewer did",
        _THRESHOLD_SOURCE,
    ),
)

_CAPACITY_SOURCE = "statistics/capacity.py"
_FRONTIER = "statistics/frontier.py"
_PROFILE = f"{_FRONTIER}; Wichmann and Hill 2001, Venzon and Moolgavkar 1988, Kish 1965"
_RATES = Column(
    "rates",
    "name",
    'which learning rate the row is about: "as asked" where one was trained; of several the "default" of the optimizer, the'
    ' "best" at each sample count (most seeds memorize, then in the fewest epochs, then the least is left), where learning_rate'
    ' is empty, or each that was "swept"',
    "statistics/rates.py",
)
_N50 = Column(
    "n50",
    "samples",
    "N50, the sample count at which half of the seeds memorize within the budget; empty where its interval has an open"
    " end, where it likeliest lies outside the counts tried, and where more than a fifth of the seeds are stuck",
    f"{_CAPACITY_SOURCE}, {_FRONTIER}",
)
_CAPACITY = (
    _SETTING,
    *_fields(but=("n_samples", "data_seed", "init_seed")),
    _RATES,
    *_SIZES,
    Column("n_cells", "cells", "cells with a result", _CAPACITY_SOURCE),
    Column(
        "n_seeds",
        "seeds",
        "how many cells count as independent: cells of the same data seed are one where several initialisations share it;"
        " of the same init seed where that alone recurs",
        "statistics/clusters.py",
    ),
    Column("least_n_samples", "samples", "the smallest sample count that was tried", _CAPACITY_SOURCE),
    Column("most_n_samples", "samples", "the largest sample count that was tried", _CAPACITY_SOURCE),
    _N50,
    Column(
        "n50_low",
        "samples",
        "low end of the 95 % interval of N50; 0: no lower bound. By the profile likelihood of a success curve that is"
        " logistic in ln(n_samples), with a share of seeds that memorize at no count, and a critical value for as few"
        " seeds as there are",
        _PROFILE,
    ),
    Column("n50_high", "samples", "high end of the 95 % interval of N50; infinite: no upper bound", _PROFILE),
    Column("side", "name", "where N50 likeliest lies: inside, above or below the sample counts tried", _FRONTIER),
    Column(
        "at_edge",
        "true or false",
        "whether N50 lies beyond the second of the counts tried from either end, or its interval goes on beyond them all: it"
        " may then lie outside, and its value is less sure than its interval says",
        _CAPACITY_SOURCE,
    ),
    Column(
        "stuck",
        "fraction",
        "share of seeds that memorize at no count tried; of a search, whose seeds have one count each, the likeliest share",
        _CAPACITY_SOURCE,
    ),
    Column(
        "sharpness",
        "1",
        "how steeply the share of seeds that memorize falls with n_samples: -d logit / d ln(n_samples), without seeds that"
        " memorize at no count; infinite: all at once. In a search it comes out too large",
        _FRONTIER,
    ),
    Column("n50_per_param", "samples / parameter", "n50 / n_params", _CAPACITY_SOURCE),
    Column("n50_per_dim", "samples / dimension", "n50 * n_outputs / functional_dim", _CAPACITY_SOURCE),
    Column(
        "bits_per_param",
        "bits / parameter",
        "n50 * log2(1 / tau) / 2 for each output / n_params; of labels by recall n50 * log2(n_classes) / n_params; empty for"
        " other targets that are not normal",
        f"{_CAPACITY_SOURCE}; {_RATE_DISTORTION}",
    ),
)

_BUDGETS_SOURCE = "statistics/budgets.py"
_GROWTH_SOURCE = f"{_BUDGETS_SOURCE}, statistics/agreement.py; Zou and Donner 2008"
_POOLED = f"{_BUDGETS_SOURCE}, statistics/censored.py"
_BY_NAME_OF_CAPACITY = {column.name: column for column in _CAPACITY}
_CAPACITY_BY_BUDGET = (
    _SETTING,
    _RATES,
    *_fields("learning_rate", "d_in", "depth", "width"),
    *_SIZES,
    *_fields("tau", "max_epochs"),
    Column(
        "budget",
        "epochs",
        "the epochs after which training is taken to have ended: max_epochs, a half of them, and so on",
        _BUDGETS_SOURCE,
    ),
    _BY_NAME_OF_CAPACITY["n_cells"],
    Column("n_memorized", "cells", "how many of n_cells had reached tau within the budget", _BUDGETS_SOURCE),
    _N50,
    *(_BY_NAME_OF_CAPACITY[name] for name in ("n50_low", "n50_high", "side", "at_edge", "stuck")),
    Column(
        "growth",
        "1",
        "n50 over that of the budget before, for each doubling of the budget; empty where one of them has no value",
        _BUDGETS_SOURCE,
    ),
    *_ends("growth", "growth, with what makes two budgets of the same cells alike", "1", _GROWTH_SOURCE),
)
_BUDGET_GROWTH = (
    _SETTING,
    _RATES,
    Column("half", "epochs", "the budget before the last", _BUDGETS_SOURCE),
    Column("budget", "epochs", "the last budget: all epochs that were trained", _BUDGETS_SOURCE),
    Column(
        "growth",
        "1",
        "N50 at budget over that at half of it, in the geometric mean over networks; a bound counts as a bound",
        f"{_POOLED}; Tobin 1958",
    ),
    *_ends("growth", "growth (profile likelihood; of one network its own)", "1", f"{_POOLED}; Venzon and Moolgavkar 1988"),
    Column("n_networks", "networks", "networks whose N50 has a value at both budgets: at least a third", _BUDGETS_SOURCE),
    Column("n_above", "networks", "networks of which only a lower bound of the growth is known", _BUDGETS_SOURCE),
    Column("n_below", "networks", "networks of which only an upper bound of the growth is known", _BUDGETS_SOURCE),
    Column("n_vague", "networks", "networks that are left out, because no bound of the growth is known", _BUDGETS_SOURCE),
)

_BANDS_SOURCE = "statistics/bands.py"
_BANDS = (
    _SETTING,
    Column(
        "per_dim_low",
        "samples / dimension",
        "the band holds cells of more n_samples * n_outputs / functional_dim than this",
        _BANDS_SOURCE,
    ),
    Column("per_dim_high", "samples / dimension", "and of at most so many; infinite: without an upper end", _BANDS_SOURCE),
    Column("n_cells", "cells", "cells of the band that have a result", _BANDS_SOURCE),
    Column("n_memorized", "cells", "how many of n_cells reached tau", _BANDS_SOURCE),
    Column("fraction_memorized", "fraction", "n_memorized / n_cells", _BANDS_SOURCE),
    *_ends(
        "fraction",
        "fraction_memorized",
        "fraction",
        f"{_BANDS_SOURCE}, statistics/clusters.py; {_WILSON}",
        "; counts as many independent cells as the spread between seeds allows",
    ),
)

_RATIOS_SOURCE = "statistics/ratios.py"
_RATIOS = (
    _SETTING,
    Column("over", "text", "the setting that it is compared with: the first of the run", _RATIOS_SOURCE),
    _RATES,
    *_fields("depth", "width", "d_in"),
    Column("ratio", "1", "N50 under setting over N50 under over, of the same network", _RATIOS_SOURCE),
    *_ends("ratio", "ratio, with what shared seeds make alike", "1", "statistics/agreement.py; Zou and Donner 2008"),
    Column("n_shared", "seeds", "seeds that both were trained with; 0: taken to be independent", _RATIOS_SOURCE),
    Column(
        "correlation",
        "1",
        "of the numbers of sample counts that each shared seed memorizes under both, less for the gaps between counts",
        _RATIOS_SOURCE,
    ),
)

_BY_LM_SOURCE = "statistics/by_lm.py"
_BY_LM = (
    _SETTING._replace(meaning="that of the training by the other optimizer: what varies, with its values"),
    *_fields("depth", "width", "d_in", "activation", "loss", "criterion", "tau"),
    _SIZES[1],
    *_fields("optimizer"),
    _RATES,
    *_fields("max_epochs"),
    Column("n50", "samples", "N50 by this optimizer; empty: not known, see its ends", _BY_LM_SOURCE),
    *_ends("n50", "n50", "samples", _PROFILE),
    Column("setting_lm", "text", "the name of the setting of the training by lm", _BY_LM_SOURCE),
    Column("max_epochs_lm", "iterations", "the budget by lm", _BY_LM_SOURCE),
    Column("n50_lm", "samples", "N50 by lm: a lower bound of what the network can hold, as every N50 is", _BY_LM_SOURCE),
    *(
        column._replace(name=f"n50_lm_{end}")
        for end, column in zip(("low", "high"), _ends("n50", "n50_lm", "samples", _PROFILE), strict=True)
    ),
    Column("side_lm", "name", "where n50_lm likeliest lies: inside, above or below the sample counts tried", _FRONTIER),
    Column("ratio", "1", "n50_lm / n50", _BY_LM_SOURCE),
    *_ends("ratio", "ratio, with what shared seeds make alike", "1", "statistics/agreement.py; Zou and Donner 2008"),
    Column("n_shared", "seeds", "seeds that both were trained with; 0: taken to be independent", _BY_LM_SOURCE),
    Column(
        "n_samples",
        "samples",
        "the largest sample count that half of the seeds memorize by both; costs are at it",
        _BY_LM_SOURCE,
    ),
    Column("epochs", "epochs", "the optimizer's median epoch to tau there", _BY_LM_SOURCE),
    Column("iterations", "iterations", "the median of lm's iterations to tau there, each of one Jacobian", _BY_LM_SOURCE),
    Column("gradients", "gradients", "gradients of single samples that the optimizer took: n_samples * epochs", _BY_LM_SOURCE),
    Column(
        "gradients_lm",
        "gradients",
        "rows of Jacobians, which are gradients of single samples, that lm took, one for each output: n_samples * outputs *"
        " iterations; its linear systems are not in it",
        _BY_LM_SOURCE,
    ),
)

_SCALING_SOURCE = "statistics/scaling.py"
_MODEL = Column("model", "name", "what N50 is taken to be a power law in", _SCALING_SOURCE)
_CENSORED = f"{_SCALING_SOURCE}, statistics/censored.py"
_WITHOUT_EACH = "without each network in turn"
_SCALING = (
    _SETTING,
    _RATES,
    _MODEL,
    Column("term", "name", "the column whose exponent this row gives", _SCALING_SOURCE),
    Column(
        "exponent",
        "1",
        "N50 grows as the term to this power: a regression on logarithms in which each N50 counts by its own interval, and a"
        " bound as a bound",
        f"{_CENSORED}; Tobin 1958",
    ),
    *_ends("exponent", "the exponent (profile likelihood)", "1", f"{_CENSORED}; Venzon and Moolgavkar 1988"),
    Column(
        "p_value",
        "fraction",
        "two-sided p of a capacity proportional to the network's size alone: exponent 1 for sizes, 0 for depth and inputs",
        _CENSORED,
    ),
    Column("exponent_least", "1", f"the least exponent {_WITHOUT_EACH}; empty where the others tell none", _SCALING_SOURCE),
    Column("exponent_most", "1", f"the largest exponent {_WITHOUT_EACH}; likewise", _SCALING_SOURCE),
    Column(
        "p_value_most",
        "fraction",
        f"the largest p_value {_WITHOUT_EACH}: small only where no network alone makes it so",
        _SCALING_SOURCE,
    ),
    Column(
        "n_networks",
        "networks",
        "networks in the fit whose interval has two ends: at least six, and a third of those with a hidden layer",
        _SCALING_SOURCE,
    ),
    Column("n_above", "networks", "networks in the fit of which only a lower bound of N50 is known", _SCALING_SOURCE),
    Column("n_below", "networks", "networks in the fit of which only an upper bound of N50 is known", _SCALING_SOURCE),
    Column("n_vague", "networks", "networks that are left out, because no bound of N50 is known", _SCALING_SOURCE),
    Column("scatter", "1", "standard deviation of ln(N50) about the fit, beyond the errors of the N50s", _CENSORED),
    Column(
        "chi_square",
        "1",
        "sum of squared residuals over squared errors of the N50s, about the fit that weighs by these alone",
        _CENSORED,
    ),
    Column("freedom", "1", "degrees of freedom of chi_square", _CENSORED),
    Column(
        "lack_of_fit_p",
        "fraction",
        "p of chi_square: small where the errors of the N50s do not explain how they lie about the law",
        _CENSORED,
    ),
)
_SCALING_RESIDUALS = (
    _SETTING,
    _RATES,
    _MODEL,
    *_fields("depth", "width", "d_in"),
    _SIZES[0],
    _N50,
    Column("fitted", "samples", "the N50 that the power law gives", _SCALING_SOURCE),
    Column("residual", "1", "ln(n50 / fitted)", _SCALING_SOURCE),
)

_THEORY_SOURCE = "protocol/theory.py"
_THEORY = (
    *_fields("target", "n_classes", "n_outputs", "d_in", "depth", "width", "activation", "trainable", "loss"),
    Column("line", "name", "the name of the line", _THEORY_SOURCE),
    Column(
        "kind",
        "name",
        "what the line says of its sample count: always fits; exists (some weights fit so many); exists for binary labels;"
        " ceiling (no exact fit of generic targets beyond); worst case (some data of more samples cannot be fitted);"
        " information (what a number of bits would give); reference (for comparison only)",
        _THEORY_SOURCE,
    ),
    Column("n_samples", "samples", "the sample count that theory names for this network", _THEORY_SOURCE),
    Column("source", "text", "who says so", _THEORY_SOURCE),
    Column(
        "tau", "of the variance", "the threshold that the line is drawn for; empty where it depends on none", _THEORY_SOURCE
    ),
)

_INCIDENCE_SOURCE = "statistics/incidence.py"
_INCIDENCE = (
    _SETTING,
    Column("epoch", "epochs", "the epoch that the row is about", _INCIDENCE_SOURCE),
    Column(
        "memorized",
        "fraction",
        "share of the cells that had reached tau by then; a cell whose budget is spent counts until then (Kaplan-Meier)",
        _INCIDENCE_SOURCE,
    ),
    *_ends("memorized", "memorized", "fraction", f"{_INCIDENCE_SOURCE}, statistics/clusters.py; {_WILSON}"),
    Column("early_stopped", "fraction", "share of the cells that early stopping had ended by then", _INCIDENCE_SOURCE),
    Column("diverged", "fraction", "share of the cells that had diverged by then", _INCIDENCE_SOURCE),
    Column("n_cells", "cells", "cells of the setting that have a result", _INCIDENCE_SOURCE),
)
_LOG_RANK_SOURCE = f"{_INCIDENCE_SOURCE}; Mantel 1966, Peto and Peto 1972"
_LOG_RANK = (
    _SETTING,
    Column("n_pairs", "pairs", "pairs of a cell with the regularizer and the same cell without", _INCIDENCE_SOURCE),
    Column(
        "n_strata", "strata", "combinations of network, training settings and sample count, each a stratum", _INCIDENCE_SOURCE
    ),
    Column("observed", "cells", "regularized cells that memorized", _LOG_RANK_SOURCE),
    Column(
        "expected",
        "cells",
        "regularized cells that would have memorized if the regularizer did nothing; it may exceed n_pairs",
        _LOG_RANK_SOURCE,
    ),
    Column(
        "statistic",
        "1",
        "each seed's observed - expected, summed, over the root of the sum of their squares; negative where the"
        " regularizer hinders",
        f"{_LOG_RANK_SOURCE}, Lin and Wei 1989",
    ),
    Column("n_seeds", "seeds", "independent observations: the cells of one seed count as one", "statistics/clusters.py"),
    Column(
        "p_value",
        "fraction",
        "two-sided p of the statistic, by exchanging each seed's two labels; empty for one seed",
        f"{_INCIDENCE_SOURCE}; Fisher 1935",
    ),
    Column("p_holm", "fraction", "p_value, corrected for all tests of the table", "statistics/agreement.py; Holm 1979"),
    Column("least_p", "fraction", "the least p_value that so many seeds can show", "statistics/paired.py"),
    Column(
        "seeds_needed",
        "seeds",
        "how many it takes until the least of this table's p_values can be below 0.05 after the correction",
        "statistics/paired.py",
    ),
)

_RANKING_SOURCE = "statistics/ranking.py"
_REGULARIZERS = (
    Column(
        "regularizer",
        "text",
        "the strengths that are switched on, and the optimizer where it is not that of the first row",
        _RANKING_SOURCE,
    ),
    *_fields("regularization", "optimizer", "weight_decay", "l1", "dropout", "input_noise", "max_norm", "patience"),
    Column("at_default", "true or false", "whether the strengths are those of conf/regularization", _RANKING_SOURCE),
    Column("n_twins", "pairs", "pairs of a cell with the regularizer and the same cell without", _RANKING_SOURCE),
    Column("n_only_without", "pairs", "how many of n_twins memorized without the regularizer and not with it", _RANKING_SOURCE),
    Column("n_only_with", "pairs", "how many of n_twins memorized with the regularizer and not without it", _RANKING_SOURCE),
    Column(
        "p_value",
        "fraction",
        "two-sided p of n_only_with - n_only_without, by exchanging the two labels of whole seeds; empty for one seed",
        f"{_RANKING_SOURCE}, statistics/paired.py; McNemar 1947, Fisher 1935",
    ),
    Column("p_holm", "fraction", "p_value, corrected for all regularizers of the table", "statistics/agreement.py; Holm 1979"),
    Column(
        "n_pairs",
        "pairs",
        "of n_twins those whose network and sample count all other seeds memorize without the regularizer",
        _RANKING_SOURCE,
    ),
    Column("n_memorized", "pairs", "how many of n_pairs memorized with the regularizer", _RANKING_SOURCE),
    Column("fraction_memorized", "fraction", "n_memorized / n_pairs", _RANKING_SOURCE),
    *_ends(
        "fraction",
        "fraction_memorized",
        "fraction",
        f"{_RANKING_SOURCE}, statistics/clusters.py; {_WILSON}; Korn and Graubard 1998",
        "; counts as many independent pairs as the spread between seeds allows",
    ),
    Column(
        "fraction_without",
        "fraction",
        "the placebo: share of the same n_pairs that memorized without the regularizer; empty for one seed",
        _RANKING_SOURCE,
    ),
    Column(
        "median_delay",
        "1",
        "median over n_pairs: epochs to tau with the regularizer over those without, each at least 1; infinite where only"
        " the cell without memorized, 0 where only that with it did; pairs in which neither did tell nothing",
        _RANKING_SOURCE,
    ),
    *_ends("delay", "median_delay", "1", f"{_RANKING_SOURCE}; Woodruff 1952", "; empty for one seed"),
    Column("median_final_tau", "of the variance", "median of final_tau with the regularizer", _RANKING_SOURCE),
    Column("rank", "1", "1: hinders memorization most", _RANKING_SOURCE),
)

_RATES_SOURCE = "statistics/rates.py"
_AT_A_RATE = (_N_MEMORIZED, _N_SEEDS, *_fraction(_SURVIVAL), _MEDIAN_EPOCH, _MEDIAN_TAU)
_LEARNING_RATES = (
    *_fields(but=("data_seed", "init_seed", "learning_rate")),
    *_SIZES,
    Column("n_rates", "rates", "how many learning rates were swept", _RATES_SOURCE),
    Column("lowest_rate", "1", "the lowest of them", _RATES_SOURCE),
    Column("highest_rate", "1", "the highest of them", _RATES_SOURCE),
    Column(
        "best_learning_rate",
        "1",
        "the best of them: most seeds memorize, then in the fewest epochs, then the least is left, then the smallest",
        _RATES_SOURCE,
    ),
    *(
        Column(f"best_{c.name}", c.unit, f"at the best rate, which is chosen on the same seeds: {c.meaning}", c.source)
        for c in _AT_A_RATE
    ),
    Column(
        "default_learning_rate", "1", "the optimizer's default rate; empty, as what follows, if it was not swept", _RATES_SOURCE
    ),
    *(Column(f"default_{c.name}", c.unit, f"at the default rate: {c.meaning}", c.source) for c in _AT_A_RATE),
    Column(
        "best_at_edge",
        "true or false",
        "the best is the lowest or the highest rate, so a rate beyond may be better",
        _RATES_SOURCE,
    ),
)

_FANS_SOURCE = "statistics/fans.py"
_LEARNING_FANS = (
    _SETTING,
    Column("samples", "name", "which cells: below (n_samples * n_outputs up to functional_dim) or above", _FANS_SOURCE),
    Column("epoch", "epochs", "the epoch that the row is about", _FANS_SOURCE),
    Column("n_cells", "cells", "cells with a learning curve; one that has ended keeps its last tau", _FANS_SOURCE),
    Column("tau_median", "of the variance", "median tau of the cells; a cell that diverged counts as infinite", _FANS_SOURCE),
    Column("tau_p10", "of the variance", "a tenth of the cells is at this tau or below", _FANS_SOURCE),
    Column("tau_p90", "of the variance", "nine tenths of the cells are at this tau or below", _FANS_SOURCE),
    Column("threshold", "of the variance", "the tau at which training stops", _FANS_SOURCE),
)

_LABELS_SOURCE = "statistics/labels.py"
_LABELS = (
    _SETTING,
    *_fields("n_samples", "d_in", "n_classes", "depth", "width", "learning_rate", "criterion", "max_epochs"),
    *_SIZES,
    Column("n_cells", "cells", "cells of the group whose loss was finite to the end", _LABELS_SOURCE),
    Column("n_seeds", "seeds", "independent seeds among them", _LABELS_SOURCE),
    Column("n_diverged", "cells", "how many more had a loss that was not finite; they count in no mean", _LABELS_SOURCE),
    Column("whole_bits", "bits", "what there is to store: n_samples * log2(n_classes)", _LABELS_SOURCE),
    Column(
        "chance_bits",
        "bits",
        "functional_dim / (2 ln 2): what a linear softmax of so many dimensions keeps of any number of samples",
        f"{_LABELS_SOURCE}; Wilks 1938",
    ),
    Column("raw_bits", "bits", "mean of memorized_bits over the cells", _LABELS_SOURCE),
    Column("recalled", "labels", "mean of the labels that are right when training ends", _LABELS_SOURCE),
    *_ends("recalled", "recalled", "labels", _LABELS_SOURCE),
    Column(
        "learned",
        "labels",
        "mean of the labels that are known, had the others been guessed: recalled - (n_samples - recalled) / (n_classes - 1);"
        " below 0 where fewer are right than by guessing",
        _LABELS_SOURCE,
    ),
    *_ends("learned", "learned", "labels", _LABELS_SOURCE),
    Column("bits", "bits", "mean of calibrated_bits over the cells", _LABELS_SOURCE),
    *_ends("bits", "bits", "bits", _LABELS_SOURCE),
    Column("bits_per_param", "bits / parameter", "bits / n_params", _LABELS_SOURCE),
    *_ends("bits_per_param", "bits_per_param", "bits / parameter", _LABELS_SOURCE),
)

_PUBLISHED_SOURCE = "statistics/published.py"
_AGREEMENT = "statistics/agreement.py"
_PUBLISHED = (
    Column("claim", "text", "what a publication says", _PUBLISHED_SOURCE),
    Column("about", "text", "the networks of this run that it was measured on", _PUBLISHED_SOURCE),
    Column("source", "text", "the publication", _PUBLISHED_SOURCE),
    Column("they", "text", "their number, in words", _PUBLISHED_SOURCE),
    Column("here", "text", "the number of this run, in words", _PUBLISHED_SOURCE),
    Column(
        "by_lm",
        "text",
        "the same number by optimizer=lm, in words, and how many times the optimizer's that is; empty: no such training."
        " The literature's trainings are by gradients: it decides nothing of agree",
        _PUBLISHED_SOURCE,
    ),
    Column("n_cells", "cells", "cells behind it", _PUBLISHED_SOURCE),
    Column(
        "agree",
        "name",
        "whether the two agree: yes (the interval lies within the margin), no (outside it, and p_holm is below 0.05),"
        " undecided, or for orientation",
        f"{_AGREEMENT}; Schuirmann 1987",
    ),
    Column("value", "1", "the number of this run", _PUBLISHED_SOURCE),
    Column("low", "1", "low end of its 95 % interval; empty for one seed", _PUBLISHED_SOURCE),
    Column("high", "1", "high end of its 95 % interval; empty for one seed", _PUBLISHED_SOURCE),
    Column("value_lm", "1", "the number by optimizer=lm", _PUBLISHED_SOURCE),
    Column("low_lm", "1", "low end of its 95 % interval, or a bound", _PUBLISHED_SOURCE),
    Column("high_lm", "1", "high end of its 95 % interval, or a bound", _PUBLISHED_SOURCE),
    Column("ratio_lm", "1", "value_lm / value", _BY_LM_SOURCE),
    *_ends("ratio_lm", "ratio_lm, with what shared seeds make alike", "1", f"{_AGREEMENT}; Zou and Donner 2008"),
    Column("theirs_low", "1", "they say that the number is at least this", _PUBLISHED_SOURCE),
    Column("theirs_high", "1", "they say that the number is at most this", _PUBLISHED_SOURCE),
    Column("margin_low", "1", "a number from this on agrees with them, the margin included", _PUBLISHED_SOURCE),
    Column("margin_high", "1", "a number up to this agrees with them, the margin included", _PUBLISHED_SOURCE),
    Column("margin", "text", "the equivalence margin, and its reason", _PUBLISHED_SOURCE),
    Column("p_value", "fraction", "two-sided p of a number within the margin; empty without an interval", _AGREEMENT),
    Column("p_holm", "fraction", "p_value, corrected for all lines that are judged", f"{_AGREEMENT}; Holm 1979"),
)

_EVIDENCE_SOURCE = "statistics/evidence.py"
_EVIDENCE = (
    Column(
        "setting",
        "text",
        'what the row changes in the network that was asked about; "as asked" for that itself',
        "statistics/settings.py",
    ),
    Column("levers", "text", "the kinds of change that it makes, joined by +", _EVIDENCE_SOURCE),
    _N_MEMORIZED,
    _N_SEEDS,
    *(column for column in _GROUPS if column.name in ("n_diverged", "n_failed", "n_pending")),
    _MEDIAN_EPOCH,
    _MEDIAN_TAU,
    Column("median_best_tau", "of the variance", "median of the lowest tau of each seed", _EVIDENCE_SOURCE),
    Column("n_reached", "seeds", "seeds whose tau was at most the asked one at some epoch", _EVIDENCE_SOURCE),
    Column("n_lost", "seeds", "seeds of these whose tau is above the asked one at the end of training", _EVIDENCE_SOURCE),
    Column(
        "n_fresh",
        "seeds",
        "fresh seeds, which chose no change, with results of the row and of the network as asked",
        _EVIDENCE_SOURCE,
    ),
    Column("n_fresh_memorized", "seeds", "fresh seeds that memorized", _EVIDENCE_SOURCE),
    Column("n_fresh_asked", "seeds", "the same fresh seeds: how many memorized as asked", _EVIDENCE_SOURCE),
    Column("n_fresh_halved", "seeds", "fresh seeds of which at most half is left of what is left as asked", _EVIDENCE_SOURCE),
    *_ends("fresh", "the share of fresh seeds that memorized", "fraction", f"{_SURVIVAL}; {_WILSON}"),
    Column(
        "cost",
        "1",
        "training FLOPs until half of the seeds had memorized, or of the whole budget, over those of the asked budget",
        _EVIDENCE_SOURCE,
    ),
    *_fields(but=("data_seed", "init_seed", "n_val", "regularization")),
    _SIZES[1],
)

_SIGNAL_SOURCE, _DRAWS_SOURCE = "protocol/signal.py", "statistics/tables.py"
_SIGNAL = (
    _CELL_ID,
    Column("setting", "text", "what varies among the networks, with its values", "statistics/settings.py"),
    *_fields("depth", "width", "init", "init_scale"),
    Column("layer", "1", "number of the layer, from 1; the last is the output", _SIGNAL_SOURCE),
    Column("second_moment", "1", "mean square of the layer's pre-activations, before training", _SIGNAL_SOURCE),
    Column(
        "variance_across_inputs",
        "1",
        "variance of a pre-activation over the inputs, averaged over units; 0: the layer is blind to the input",
        _SIGNAL_SOURCE,
    ),
    Column("gain", "1", "second_moment over that of the layer before; empty in the first", _SIGNAL_SOURCE),
    Column(
        "dead_units",
        "fraction",
        "share of the hidden units whose activation is the same for all inputs; empty for the output",
        _SIGNAL_SOURCE,
    ),
    Column(
        "dead_draws",
        "draws",
        "fresh draws in which all units of the layer are dead, so that it passes nothing on; of a diagnosis alone",
        _DRAWS_SOURCE,
    ),
    Column("n_draws", "draws", "fresh draws of data and weights that were looked at", _DRAWS_SOURCE),
)

_TABLES_SOURCE = "statistics/tables.py"
_VALIDATION = (
    _CELL_ID,
    _SETTING,
    *_fields(*VALIDATION_FIELDS),
    *(c for name in ("best_val_mse", "best_val_epoch", "final_val_mse") for c in _CELLS if c.name == name),
    Column(
        "validation_variance",
        "target units^2",
        "variance of the validation targets: the least that a constant scores",
        "protocol/noise.py",
    ),
    Column("best_over_variance", "1", "best_val_mse / validation_variance", _TABLES_SOURCE),
    Column("final_over_variance", "1", "final_val_mse / validation_variance", _TABLES_SOURCE),
)

_PREDICTIONS = (
    _CELL_ID,
    _SETTING,
    *_fields("depth", "width", "n_samples", "data_seed", "init_seed"),
    *(column for column in _CELLS if column.name == "final_tau"),
    Column("sample", "1", "number of the training sample, from 0", "store/parts.py"),
    Column("target", "target units", "its target", "protocol/noise.py"),
    Column("prediction", "target units", "what the network predicts for it when training ended", _MEASURED),
)

_COMPARISON_SOURCE = "peers/comparison.py"
_PEER = (
    Column("peer", "name", "who trained", "peers/registry.py"),
    Column("label", "text", "who trained, in words", "peers/registry.py"),
)
_PEAK = Column(
    "peak",
    "name",
    "how the machine's peak was measured: fma (multiply-adds on registers) or gemm (a large float32 matrix product)",
    "engines/peak.py",
)
_COMPARISON = (
    *_fields("d_in", "width", "depth", "n_samples", "dropout"),
    *_PEER,
    Column("networks", "networks", "networks of one call", _COMPARISON_SOURCE),
    Column("pack", "networks", "networks that it trains together", _COMPARISON_SOURCE),
    Column("epochs", "epochs", "epochs of one call", _COMPARISON_SOURCE),
    Column("n_rounds", "rounds", "timed calls", _COMPARISON_SOURCE),
    Column("error", "text", "why the peer has no result; empty if it has", _COMPARISON_SOURCE),
    _PEAK,
    Column("peak_gflops", "GFLOP/s", "the machine's peak in float32, median over rounds", "engines/peak.py"),
    Column(
        "gflops",
        "GFLOP/s",
        "useful work of a call over its time, median over rounds; useful work is 6 * n_samples * multiply-accumulates of a"
        " forward pass, per epoch and network",
        _COMPARISON_SOURCE,
    ),
    Column("gflops_low", "GFLOP/s", "the least of gflops over rounds", _COMPARISON_SOURCE),
    Column("gflops_high", "GFLOP/s", "the most of gflops over rounds", _COMPARISON_SOURCE),
    Column("of_peak", "fraction", "gflops over the peak of the same round, median over rounds", _COMPARISON_SOURCE),
    Column("slower", "1", "GFLOP/s of this program over the peer's in the same round, median over rounds", _COMPARISON_SOURCE),
    Column("slower_low", "1", "the least of slower over rounds", _COMPARISON_SOURCE),
    Column("slower_high", "1", "the most of slower over rounds", _COMPARISON_SOURCE),
    Column(
        "loss_difference",
        "1",
        "largest relative difference of the losses from those of the first peer that is not ours: of any network in the"
        " first two epochs, of the median network after that; with dropout before the first epoch alone, since masks differ",
        _COMPARISON_SOURCE,
    ),
    Column(
        "late_difference",
        "1",
        "with dropout: losses over those of the first peer that is not ours, less 1, in the geometric mean over 16 networks and"
        " the second half of up to 200 epochs, untimed",
        _COMPARISON_SOURCE,
    ),
    Column("late_allowed", "1", "with dropout: late_difference that rounding and chance explain", _COMPARISON_SOURCE),
    Column(
        "peak_memory_mb",
        "1e6 bytes",
        "most memory of the peer's process in a call, its libraries included; empty where the system does not tell",
        "machine/usage.py",
    ),
    Column(
        "joules_per_tflop",
        "J/TFLOP",
        "energy of the processor packages, with all that runs on them, over useful work, median over rounds; empty where"
        " the system does not tell",
        "machine/usage.py",
    ),
)
_OVER_SHAPES = (("", "geometric mean"), ("_low", "least"), ("_high", "largest"))
_SUMMARY = (
    *_PEER,
    Column("n_shapes", "shapes", "shapes at which the peer has a result", _COMPARISON_SOURCE),
    *(
        Column(f"{name}{end}", unit, f"{of} over shapes of {name} in comparison.csv", _COMPARISON_SOURCE)
        for name, unit in (("gflops", "GFLOP/s"), ("of_peak", "fraction"), ("slower", "1"), ("joules_per_tflop", "J/TFLOP"))
        for end, of in _OVER_SHAPES
    ),
    Column("peak_memory_mb", "1e6 bytes", "largest over shapes of peak_memory_mb in comparison.csv", "machine/usage.py"),
    _PEAK,
    Column("peak_gflops", "GFLOP/s", "median over shapes of peak_gflops in comparison.csv", "engines/peak.py"),
)

# The tables of a run, in the order of their worth to a reader, then those of `memcap compare`.
_LEARNED = "gates/learned.py"
_LEARNED_SETTING = Column(
    "setting", "text", "the fields, but for seeds and n_samples, in which the cell is not as most are; usual: none", _LEARNED
)
_SCHEMA_OF = {column.name: column for column in _CELLS}
_LEARNED_CELLS = (
    _CELL_ID,
    _LEARNED_SETTING,
    *(_SCHEMA_OF[name] for name in ("n_samples", "data_seed", "init_seed", "dtype")),
    *(_SCHEMA_OF[name] for name in ("status", "epoch_to_tau", "final_tau", "engine", "device")),
)
_LEARNED_CURVES = (
    _CELL_ID,
    Column("epoch", "epochs", "epochs trained so far, of those of the learning curve up to 20", _LEARNED),
    Column(
        "tau", "of the variance", "training loss / target variance after that epoch, every digit of it", "engines/record.py"
    ),
)
_JUDGED, _WILSON = "gates/capacity.py", "statistics/survival.py, Wilson 1927"
_CHECK_SETTINGS = (
    _LEARNED_SETTING,
    Column("n_cells", "cells", "cells of the setting that base and head trained", _JUDGED),
    Column(
        "largest_difference",
        "fraction",
        "largest |tau of the head / tau of the base - 1| of a cell in its first 20 epochs; infinite: one side has none",
        _JUDGED,
    ),
    Column("tolerance", "fraction", "up to which rounding explains a difference, by the cells' dtype", _JUDGED),
    Column("n_beyond", "cells", "cells whose difference exceeds the tolerance", _JUDGED),
    Column("moved", "true or false", "whether these are more than half of two or more cells", _JUDGED),
    Column("n_memorized_base", "cells", "cells that reached tau in the base", _JUDGED),
    Column("n_memorized_head", "cells", "cells that reached tau in the head", _JUDGED),
    *(Column(f"fraction_{side}", "fraction", f"n_memorized_{side} / n_cells", _JUDGED) for side in ("base", "head")),
    *(
        Column(
            f"fraction_{end}_{side}", "fraction", f"{end} end of the 95 % interval of the share of its cells that did", _WILSON
        )
        for side in ("base", "head")
        for end in ("low", "high")
    ),
    Column(
        "median_epoch_ratio",
        "1",
        "epochs to tau of the head over those of the base, the median of the cells that reached tau in both; empty: none",
        "statistics/paired.py",
    ),
)

_SPEED = "gates/speed.py"
_GROUP = Column("group", "text", "benchmarks that are judged together, of tests/perf", "gates/rounds.py")
_CHECK_GROUPS = (
    _GROUP,
    Column("n_benchmarks", "benchmarks", "how many those are", _SPEED),
    Column("n_rounds", "rounds", "rounds in which both sides ran them", _SPEED),
    Column(
        "ratio",
        "1",
        "time of the head over that of the base, median over turns, geometric mean over benchmarks and rounds",
        _SPEED,
    ),
    Column("ratio_low", "1", "low end of its interval, which holds for all groups and looks at once", _SPEED),
    Column("ratio_high", "1", "high end of that interval; empty after one round", _SPEED),
    Column("slower", "true or false", "whether the whole interval lies beyond the margin", _SPEED),
    Column("known", "true or false", "whether the high end is within 2 % of the ratio, or the group is slower", _SPEED),
)
_CHECK_TIMES = (
    Column("round", "rounds", "its number, from 0", "gates/rounds.py"),
    Column(
        "turn", "calls", "number of the call in that round, from 0: both sides made it one after the other", "gates/turns.py"
    ),
    Column("side", "name", "base or head", "gates/rounds.py"),
    _GROUP,
    Column("benchmark", "name", "the benchmark, as pytest names it", "gates/rounds.py"),
    Column("time_s", "s", "how long that call took", "gates/rounds.py"),
)
_COUNTS = "gates/counts.py"
_CHECK_COUNTS = (
    Column("count", "text", "what was counted", _COUNTS),
    Column("unit", "text", "of the next two columns", _COUNTS),
    Column("base", "see unit", "the count of the base; empty: it cannot be had", _COUNTS),
    Column("head", "see unit", "the count of the head; empty: it cannot be had", _COUNTS),
    Column("ratio", "1", "head over base; infinite where the base has none", _COUNTS),
    Column("worse", "true or false", "whether the head's is larger by more than 2 %", _COUNTS),
    Column("why_not", "text", "why it was not counted; empty where it was", _COUNTS),
)
_BENCHMARKS = "gates/benchmarks.py"
_CHECK_BENCHMARKS = (
    _GROUP,
    Column("benchmark", "name", "the benchmark, as pytest names it", "gates/rounds.py"),
    Column("n_rounds", "rounds", "rounds in which both sides ran it", _BENCHMARKS),
    Column("time_base_s", "s", "its time in the base, the median over calls", _BENCHMARKS),
    Column("time_head_s", "s", "its time in the head, the median over calls", _BENCHMARKS),
    Column("ratio", "1", "time of the head over that of the base, median over turns, geometric mean over rounds", _BENCHMARKS),
)

_LOOKS_SOURCE = "modules/looks.py"
_MODULE_LOOKS = (
    Column("about", "text", "the cause that it speaks for; empty: it is plain information", _LOOKS_SOURCE),
    Column("found", "text", "what was seen", _LOOKS_SOURCE),
    Column("value", "1", "its number; empty where it has none", _LOOKS_SOURCE),
    Column(
        "sure",
        "true or false",
        "whether arithmetic says that the network as asked cannot memorize because of it",
        _LOOKS_SOURCE,
    ),
    Column("code", "text", "what to write to change it", _LOOKS_SOURCE),
)

_LADDER_SOURCE = "modules/diagnosis.py"
_OF_SCALE = "of the scale"
_MODULE_EVIDENCE = (
    Column("change", "text", "what is not as asked", "modules/changes.py"),
    Column("levers", "text", "what it pulls, the smallest first", "modules/changes.py"),
    Column("n_seeds", "seeds", "seeds of the ladder, which choose the changes", _LADDER_SOURCE),
    Column("n_memorized", "seeds", "how many of n_seeds reached tau", _LADDER_SOURCE),
    *_ends("fraction", "n_memorized / n_seeds", "fraction", f"{_SURVIVAL}; {_WILSON}"),
    Column("n_fresh", "seeds", "fresh seeds, on which no change was chosen", _LADDER_SOURCE),
    Column("n_fresh_memorized", "seeds", "how many of n_fresh reached tau", _LADDER_SOURCE),
    *_ends("fresh", "n_fresh_memorized / n_fresh", "fraction", f"{_SURVIVAL}; {_WILSON}"),
    Column("n_fresh_asked", "seeds", "how many of the same fresh seeds reached tau as asked", _LADDER_SOURCE),
    Column(
        "median_epoch_to_tau",
        "epochs",
        "the epoch by which half of n_seeds had reached tau; infinite where fewer did",
        _LADDER_SOURCE,
    ),
    Column(
        "median_best_tau",
        _OF_SCALE,
        "median over n_seeds of the least tau: (loss - floor) / (loss of the best constant - floor)",
        _LADDER_SOURCE,
    ),
    Column("median_last_tau", _OF_SCALE, "median over n_seeds of the last tau; infinite: diverged", _LADDER_SOURCE),
    Column("n_diverged", "seeds", "seeds of n_seeds whose loss is not finite, or beyond twice what it was", _LADDER_SOURCE),
    Column("n_cut", "seeds", "seeds of n_seeds that were ended for want of time; they count as not memorized", _LADDER_SOURCE),
    Column("together", "true or false", "whether its seeds trained together, stacked", "modules/training.py"),
)

_PROBE_SOURCE = "modules/probe.py"
_MODULE_SIGNAL = (
    Column("name", "text", "path of the part in the network", _PROBE_SOURCE),
    Column("kind", "text", "its class", _PROBE_SOURCE),
    Column("second_moment", "1", "mean square of its outputs before training", _PROBE_SOURCE),
    Column("across", "1", "variance of its outputs across inputs, mean over units; 0: blind to the input", _PROBE_SOURCE),
    Column("gradient", "1", "root mean square of the loss' gradient by its outputs; empty: none reaches it", _PROBE_SOURCE),
    Column("dead", "fraction", "share of its units that give the same for all inputs", _PROBE_SOURCE),
)
_MODULE_CURVES = (
    Column("change", "text", "what is not as asked", "modules/changes.py"),
    Column("seed", "seed", "of the initial weights, and of noise", _LADDER_SOURCE),
    Column("epoch", "epochs", "passes over the batch so far", "modules/trials.py"),
    Column("loss", "1", "the loss on the whole batch, in the mode of measuring", "modules/trials.py"),
    Column("tau", _OF_SCALE, "(loss - floor) / (loss of the best constant - floor)", "modules/losses.py"),
)

_ON_NOISE = "modules/on_noise.py"
_OWN = "statistics/own_networks.py"
_OWN_NETWORK = (
    Column("model_args", "text", "the arguments of the function that makes the network; empty: none", _ON_NOISE),
    Column("optimizer", "name", "by which it trains, with torch's settings", _ON_NOISE),
    Column("learning_rate", "1", "of the optimizer", _ON_NOISE),
    Column("batch_size", "samples", "samples of a step; empty: all", _ON_NOISE),
)
_OWN_SIZES = (
    Column("n_params", "parameters", "of the network", _PROBE_SOURCE),
    Column(
        "jacobian_rank",
        "dimensions",
        "rank of the Jacobian of the untrained network's outputs, over more noise than it has dimensions: in how many"
        " directions small changes of its parameters move them; empty: more than the noise tells that is taken for it",
        _PROBE_SOURCE,
    ),
)
_NETWORK_TRAININGS = (
    *_OWN_NETWORK,
    Column("n_samples", "samples", "inputs and targets N(0, 1)", _ON_NOISE),
    Column("seed", "seed", "of the noise and of the initial weights", _ON_NOISE),
    Column("status", "name", "how it ended: memorized (tau was reached), censored, diverged, failed (an error)", _ON_NOISE),
    Column("epoch_to_tau", "epochs", "the first epoch at which tau was reached; empty: never", "modules/trials.py"),
    Column("best_tau", _OF_SCALE, "the least tau of all epochs", "modules/trials.py"),
    Column("final_tau", _OF_SCALE, "tau when training ended; infinite: diverged", "modules/trials.py"),
    *_OWN_SIZES,
    Column(
        "engine", "name", "stacked: beside others under torch.func.vmap; alone: a plain loop of torch", "modules/training.py"
    ),
    Column("device", "name", "where it trained, as torch names it", "modules/training.py"),
    Column("reason", "text", "why it failed; empty: it did not", _ON_NOISE),
)
_NETWORK_GROUPS = (
    *_OWN_NETWORK,
    Column("n_samples", "samples", "inputs and targets N(0, 1)", _ON_NOISE),
    Column("n_seeds", "seeds", "trainings of the network at this count that came to an end", _OWN),
    Column("n_failed", "trainings", "how many failed; they count in no other column", _OWN),
    Column("n_memorized", "seeds", "how many of n_seeds reached tau", _OWN),
    Column("fraction_memorized", "fraction", "n_memorized / n_seeds", _OWN),
    *_ends("fraction", "fraction_memorized", "fraction", f"{_SURVIVAL}; {_WILSON}"),
    _MEDIAN_EPOCH._replace(source=_OWN),
    Column("median_best_tau", _OF_SCALE, "median of best_tau", _OWN),
)
_NETWORK_CAPACITY = (
    *_OWN_NETWORK,
    _N50,
    Column("n50_low", "samples", "low end of the 95 % interval of N50; 0: no lower bound", _PROFILE),
    Column("n50_high", "samples", "high end of the 95 % interval of N50; infinite: no upper bound", _PROFILE),
    *_OWN_SIZES,
    Column("n_trainings", "trainings", "of the network, at all sample counts", _OWN),
    Column("n_seeds", "seeds", "different seeds among them", _OWN),
    Column("least_n_samples", "samples", "the smallest sample count that was tried", _OWN),
    Column("most_n_samples", "samples", "the largest sample count that was tried", _OWN),
    Column("side", "name", "where N50 likeliest lies: inside, above or below the sample counts tried", _FRONTIER),
    Column(
        "stuck",
        "fraction",
        "share of seeds that memorize at no count tried; of a search, whose seeds have one count each, the likeliest share",
        _CAPACITY_SOURCE,
    ),
    Column("n50_per_param", "outputs / parameter", "n50 times the outputs of a sample / n_params", _OWN),
    Column("n50_per_rank", "outputs / dimension", "n50 times the outputs of a sample / jacobian_rank", _OWN),
)

TABLES = {
    "cells": Table("a cell: one training run", _CELLS),
    "groups": Table("a group of cells that differ in their seeds alone", _GROUPS),
    "capacity": Table("a network and how it trains, at two sample counts or more", _CAPACITY),
    "capacity_by_budget": Table("a network and how it trains, had it ended after so many epochs", _CAPACITY_BY_BUDGET),
    "budget_growth": Table("a setting: how N50 grows with the budget at its end", _BUDGET_GROWTH),
    "bands": Table("a setting and a band of samples for each dimension: how many cells memorized there", _BANDS),
    "ratios": Table("a network whose N50 is known under a setting and under the first", _RATIOS),
    "by_lm": Table("a network that was trained by optimizer=lm and by another optimizer, on the same task", _BY_LM),
    "thresholds": Table("a group of seeds at one threshold. Of the fields it has those that vary", _THRESHOLDS),
    "scaling": Table("a term of a power law through the known N50 of a setting", _SCALING),
    "scaling_residuals": Table("a network in the fit of a power law", _SCALING_RESIDUALS),
    "theory": Table("a network and a sample count that theory names for it", _THEORY),
    "incidence": Table("a setting and an epoch: who had memorized by then", _INCIDENCE),
    "log_rank": Table("a setting against the same cells without a regularizer: a stratified log-rank test", _LOG_RANK),
    "regularizers": Table("a regularizer at one strength, against the same cells without any", _REGULARIZERS),
    "learning_rates": Table(
        "a network, sample count and way to train for which several learning rates were swept", _LEARNING_RATES
    ),
    "learning_fans": Table(
        "a setting, a side of the functional dimension and an epoch: how tau spreads over cells", _LEARNING_FANS
    ),
    "labels": Table("a group of cells on random labels that differ in their seeds alone", _LABELS),
    "published": Table("a published claim that the run has cells for", _PUBLISHED),
    "evidence": Table("the network that was asked about, or one change to it", _EVIDENCE),
    "signal_propagation": Table("a layer of an untrained network", _SIGNAL),
    "validation": Table("a cell with validation samples", _VALIDATION),
    "predictions": Table("a training sample of the first cell of a setting (with n_predictions)", _PREDICTIONS),
    "comparison": Table("a shape of networks and a peer (memcap compare)", _COMPARISON),
    "summary": Table("a peer over all shapes (memcap compare)", _SUMMARY),
    "learned_cells": Table("a cell of the reference (memcap check capacity)", _LEARNED_CELLS),
    "learned_curves": Table("a cell and an epoch of the reference (memcap check capacity)", _LEARNED_CURVES),
    "check_groups": Table("a group of benchmarks, base beside head (memcap check speed)", _CHECK_GROUPS),
    "check_times": Table("a call of a benchmark on one side (memcap check speed)", _CHECK_TIMES),
    "check_counts": Table("a count of what the program does, base beside head (memcap check speed)", _CHECK_COUNTS),
    "check_benchmarks": Table("a benchmark, base beside head (memcap check speed)", _CHECK_BENCHMARKS),
    "check_settings": Table("a setting, base beside head (memcap check capacity)", _CHECK_SETTINGS),
    "module_looks": Table("something that was seen before training (memcap diagnose model=...)", _MODULE_LOOKS),
    "module_evidence": Table("the network as asked, or one change (memcap diagnose model=...)", _MODULE_EVIDENCE),
    "module_signal": Table("a part of the untrained network (memcap diagnose model=...)", _MODULE_SIGNAL),
    "module_curves": Table("an epoch of a training that the page draws (memcap diagnose model=...)", _MODULE_CURVES),
    "network_capacity": Table("a network of one's own, at two sample counts or more (memcap run model=...)", _NETWORK_CAPACITY),
    "network_groups": Table("a network of one's own at a sample count (memcap run model=...)", _NETWORK_GROUPS),
    "network_trainings": Table("a training of a network of one's own (memcap run model=...)", _NETWORK_TRAININGS),
}


def columns_of(table: str) -> dict[str, Column]:
    """The columns of a table by name, in their order.

    Raises:
        KeyError: no table has this name.

    >>> columns_of("groups")["load"].unit
    'samples / parameter'
    """
    return {column.name: column for column in TABLES[table].columns}


def markdown(table: str, names: Sequence[str]) -> str:
    """Columns of a table as Markdown: what a row is, then name, unit, meaning and source of each.

    Args:
        table: its name.
        names: the columns to tell of, all of them in TABLES.
    """
    known = columns_of(table)
    lines = [f"A row is {TABLES[table].row}.", "", "| column | unit | meaning | source |", "| --- | --- | --- | --- |"]
    lines += [
        f"| `{c.name}` | {c.unit} | {_escaped(c.meaning)} | {_escaped(c.source)} |" for c in map(known.__getitem__, names)
    ]
    return "\n".join(lines)


def readme(tables: Mapping[str, Sequence[str]]) -> str:
    """The page of a folder of tables, given their names with those of their columns: what each column means."""
    head = (
        "# What the columns mean\n\nEach table is a CSV file. Infinite epochs mean never; an empty entry means that there is"
        " nothing to say. `source` names the file in bench/ that computes the column, and the publication that it follows;"
        " `asked` are the fields of a cell, which are inputs. Units: `1` is a number without one, `of the variance` a share of"
        " the targets' variance. A text that a spreadsheet would take for a formula has an apostrophe before it."
    )
    parts = [f"## {name}.csv\n\n{markdown(name, columns)}" for name, columns in tables.items()]
    return "\n\n".join([head, *parts]) + "\n"


def _escaped(text: str) -> str:
    """Characters that Markdown would take for its own."""
    return re.sub(r"([|*_<])", r"\\\1", text)
