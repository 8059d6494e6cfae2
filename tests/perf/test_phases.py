"""Instructions by phase: whose an instruction is, and of which function."""

from __future__ import annotations

import pandas as pd
import pytest

from bench.engines.packs import epoch_flops
from tests.conftest import ROOT
from tests.perf.phases import LEAST_EPOCHS, PHASES, REST, cases, chains_in, costs_in, markdown, phase

SOURCES = "".join(path.read_text() for path in (ROOT / "bench" / "engines" / "fused").glob("*.h"))


@pytest.mark.parametrize(
    ("chain", "expected"),
    [
        (
            ["load", "fused_avx2::CpuTiles<float, 8>::turn_samples(float*, int)", "outer", "backward"],
            "turning and sums over lanes",
        ),
        (["low<1, 0, 1>", "sums<1>", "add_lanes", "complete", "errors_of"], "turning and sums over lanes"),
        (["load", "both<T<float>::Biases, 4>", "rows<T<float>::Biases, 8>", "outer", "backward"], "gradients over samples"),
        (
            [
                "factor_of",
                "void T<float>::each_tile<T<float>::Of<T<float>::AffineOf<true> >::Vectors<2>, 6, From>(From, int, int)",
            ],
            "forward products",
        ),
        (["tile<6, 2>", "each_tile<Of<BackOf<true> >::Vectors<2>, 6>"], "backward products"),
        (["product", "round", "draw", "draw_kept", "forward"], "draws"),
        (["drop", "forward", "gradient_of_batch"], "activations and dropping"),
        (["root", "operator()", "adam<false>", "update", "train_epoch"], "updates"),
        (["each_residual<false>", "subtract", "errors_of"], REST),
        (["??"], REST),
    ],
)
def test_an_instruction_is_of_the_innermost_phase_it_is_in(chain, expected):
    assert phase(chain) == expected


def test_the_functions_of_the_phases_are_functions_or_structs_of_the_kernel():
    for name in (name for names in PHASES.values() for name in names):
        assert f" {name}(" in SOURCES or f"struct {name} " in SOURCES, name


# A function of the kernel that calls one of its own and memcpy, beside Python's.
PROFILE = """positions: instr line
ob=/usr/lib/libpython3.so
fn=PyObject_Call
0x10 1 700
ob=/site/bench/engines/_native.so
fn=train
0x20 30 500
cob=/usr/lib/libc.so
cfn=memcpy
calls=2 0x99 0
0x24 31 90
0x24 31 400
fn=other
0x20 30 5
"""


def test_costs_are_those_of_the_library_by_address_without_what_it_calls():
    assert costs_in(PROFILE.splitlines(), "_native.so") == {"0x20": 505, "0x24": 400}


def test_the_chain_of_an_address_has_its_functions_from_the_innermost_on():
    printed = "0x0000000000000020\nturn\n/a.h:1\nouter\n/a.h:2 (discriminator 3)\n0x0000000000000024\n??\n??:0\n"
    assert chains_in(printed) == {"0x20": ["turn", "outer"], "0x24": ["??"]}


def test_every_case_is_trained_for_epochs_enough():
    every = list(cases())
    assert len(every) == 48
    assert all(cell.max_epochs >= LEAST_EPOCHS and cell.max_epochs * epoch_flops(cell) >= 4.9e7 for _, cell in every)
    assert {(kind, cell.dropout, cell.input_noise, cell.weight_decay) for kind, cell in every} == {
        ("plain", 0, 0, 0),
        ("weight decay", 0, 0, 0.001),
        ("input noise", 0, 0.1, 0),
        ("dropout", 0.1, 0, 0),
    }


def test_the_table_has_shares_in_per_cent():
    row = {"kind": "plain", "width": 4, "samples": 32, "instructions / FLOP": 0.6612, "forward products": 0.284, REST: 0.716}
    assert markdown(pd.DataFrame([row])).splitlines() == [
        f"| kind | width | samples | instructions / FLOP | forward products | {REST} |",
        "| --- | --- | --- | --- | --- | --- |",
        "| plain | 4 | 32 | 0.66 | 28 % | 72 % |",
    ]
