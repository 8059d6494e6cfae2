"""What depth costs at the same number of parameters, in a sentence."""

from __future__ import annotations

import pandas as pd

from bench.report.holds import N50
from bench.report.words import capitalized, interval, under
from bench.report.worth import Finding, Worth
from bench.statistics.agreement import LEVEL


def depth_costs(scaling: pd.DataFrame) -> list[Finding]:
    """Whether depth matters at the same number of parameters, for the first setting that tells.

    Nothing is claimed that one network alone decides, or of a law that the N50s do not follow.
    """
    if scaling.empty:
        return []
    rows = scaling[scaling["model"].eq("depth at the same parameters") & scaling["term"].eq("depth")]
    for _, row in rows.head(1).iterrows():
        subject = row["setting"] if row["rates"] == "as asked" else f"{row['setting']}, {row['rates']} learning rate"
        bounds = int(row["n_above"] + row["n_below"])
        networks = f"{row['n_networks']} networks" + (f" and {bounds} bound{'s' * (bounds > 1)}" if bounds else "")
        ends = interval(f"{row['exponent_low']:.2f}", f"{row['exponent_high']:.2f}")
        exponent = f"{row['exponent']:.2f} {ends}"
        found = row["p_value"] < LEVEL
        why = []
        if row["lack_of_fit_p"] < LEVEL:
            why.append(f"no power law fits them (chi-square {row['chi_square']:.0f} on {row['freedom']} degrees of freedom)")
        if found and not row["p_value_most"] < LEVEL:
            without = f"{row['exponent_least']:.2f} to {row['exponent_most']:.2f}, p up to {row['p_value_most']:.2g}"
            why.append(f"the exponent of depth, {exponent}, rests on one of them (without each in turn {without})")
        if why:
            verb = f"{networks} do not tell whether depth matters at the same number of parameters"
            return [Finding(Worth.UNDECIDED, f"{capitalized(subject)}: {verb}: {'; '.join(why)}.")]
        meaning = "no difference between depths could be told"
        power = f"{N50} goes as depth to the power {exponent} over {networks}"
        if found:
            meaning = f"deeper networks hold {'less' if row['exponent'] < 0 else 'more'}"
            power += ", and so it is without each of them in turn"
        worth = Worth.EFFECT if found else Worth.UNDECIDED
        return [Finding(worth, f"At the same number of parameters{under(subject)}, {meaning}: {power}.")]
    return []
