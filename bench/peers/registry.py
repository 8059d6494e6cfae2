"""Other ways to train many small networks, each as its own documentation recommends, and this program's engines beside them."""

from __future__ import annotations

import importlib.util
from typing import Literal, NamedTuple

from bench.machine.cuda_core import why_no_cuda_core

# How a peer takes the networks of a problem: one after the other, in packs of a size that suits it, or all in its own way.
Takes = Literal["one", "packs", "all"]


class Peer(NamedTuple):
    """A way to train: `module.function(problem, device)` returns the losses [cell, epoch] (`bench.peers.problem`)."""

    label: str
    module: str
    function: str
    takes: Takes
    needs: str
    devices: tuple[str, ...] = ("cpu", "cuda")


PEERS = {
    "native": Peer("memcap, engine=native", "bench.peers.ours", "native", "all", "bench.engines._native", ("cpu",)),
    "cuda": Peer("memcap, engine=cuda", "bench.peers.ours", "cuda", "all", "cuda.core", ("cuda",)),
    "cuda_3xtf32": Peer("memcap, engine=cuda, 3xTF32", "bench.peers.ours", "cuda_3xtf32", "all", "cuda.core", ("cuda",)),
    "torch": Peer("memcap, engine=torch (one core)", "bench.peers.ours", "torch", "all", "torch"),
    "jax": Peer("JAX jit(vmap(scan))", "bench.peers.jax_scan", "train", "packs", "optax"),
    "vmap": Peer("torch.func.vmap", "bench.peers.torch_vmap", "train", "packs", "torch"),
    "compile": Peer("torch.compile of vmap", "bench.peers.torch_vmap", "train_compiled", "packs", "torch"),
    "loop": Peer("torch loop", "bench.peers.torch_loop", "train", "one", "torch"),
    "multirun": Peer("Hydra multirun of the loop", "bench.peers.hydra_multirun", "train", "one", "torch"),
    "keras": Peer("Keras fit", "bench.peers.keras_fit", "train", "one", "keras"),
}

# What brings the packages that are not everyone's.
EXTRA = "peers"

# What tells one shape of networks from another.
SHAPE = ("d_in", "width", "depth", "n_samples", "dropout")

# This program's: the others are held against the first of these that takes part.
OURS = ("native", "cuda", "torch", "cuda_3xtf32")


def why_not(name: str, device: str) -> str | None:
    """Why a peer cannot take part here; None where it can."""
    peer = PEERS[name]
    if device.partition(":")[0] not in peer.devices:
        return f"it does not train on {device}"
    if peer.needs == "cuda.core":
        return why_no_cuda_core()
    package = peer.needs.partition(".")[0]
    if importlib.util.find_spec(package) is None or importlib.util.find_spec(peer.needs) is None:
        return (
            "it is not built in this installation (pip install -e .)"
            if name == "native"
            else f"{peer.needs} is not installed (pip install -e '.[{EXTRA}]')"
        )
    return None
