"""Which name somebody meant who wrote another: for the end of an error message."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

# What other programs call a field or a choice, and what it is called here.
ALIASES = {
    "lr": "learning_rate",
    "epochs": "max_epochs",
    "n_epochs": "max_epochs",
    "batch": "batch_size",
    "hidden": "width",
    "hidden_size": "width",
    "layers": "depth",
    "n_layers": "depth",
    "seeds": "seed",
    "samples": "n_samples",
    "threshold": "tau",
    "wd": "weight_decay",
    "fp32": "float32",
    "fp64": "float64",
    "double": "float64",
}

# Longer than any name there is; how alike two texts are takes the product of their lengths.
LONGEST = 60

# What stands in place of what is left out of a long text.
GAP = " ... "

# Names less alike than this are no slips of each other (`difflib`: twice the shared letters over all letters).
ALIKE = 0.6
# From here on a name is taken for a slip of an alias.
SURE = 0.8


def did_you_mean(name: str, known: Iterable[str], otherwise: str) -> str:
    """The question "did you mean ...?" with the known name that is most like the one given, or `otherwise` where none is like
    it.

    A name of `ALIASES` counts as what it stands for. The last part of a dotted name counts too, so "seed" finds "grid.seed",
    and so does a beginning: "he" finds "he_normal".

    >>> did_you_mean("lr", ["l1", "learning_rate"], "see --help")
    'did you mean learning_rate?'
    >>> did_you_mean("seeds", ["init_seed", "grid.seed"], "see --help")
    'did you mean grid.seed?'
    >>> did_you_mean("fail_under", ["run_dir"], "see --help")
    'see --help'
    """
    if len(name) > LONGEST:
        return otherwise
    known = list(known)
    prefix, _, last = name.rpartition(".")
    slip = difflib.get_close_matches(last, ALIASES, n=1, cutoff=SURE)
    wanted = ALIASES.get(last) or (ALIASES[slip[0]] if slip else last)
    exact = [other for other in known if other == f"{prefix}.{wanted}".lstrip(".")]
    exact += [other for other in known if other.rpartition(".")[2] == wanted]
    exact += [other for other in known if other.startswith(wanted) and len(wanted) > 1]
    close = exact or difflib.get_close_matches(name, known, n=1, cutoff=ALIKE)
    return f"did you mean {close[0]}?" if close else otherwise


def shortened(text: str, most: int) -> str:
    """The text, or its beginning and its end where it has more than so many characters.

    >>> shortened("width=8: must be at least 9", 20)
    'width=8: ... least 9'
    """
    if len(text) <= most:
        return text
    last = (most - len(GAP)) // 2
    return f"{text[: most - len(GAP) - last].rstrip()}{GAP}{text[-last:].lstrip()}"
