"""In place of `bench.engines.cuda.gpu`, to rehearse on a machine without a GPU all that is not a kernel: a device that trains nothing.

Whoever judges results must find that out. With MEMCAP_DEVICE=host the kernels compiled for this host train in place of it.
"""

from __future__ import annotations

import os

from tests.engines.idle_device import IdleDevice

STATIC_BYTES = 1 << 10


class FakeDevice(IdleDevice):
    name, torch_device = "no GPU", "cuda:0"
    scratch_bytes = (227 << 10) - STATIC_BYTES

    def __init__(self):
        super().__init__(epochs=1000, halved=2.0, places=3 * 132)

    def multiply_adds(self, dtype: str) -> float:
        return 1000.0


# As the module that this stands in for names it.
Gpu = FakeDevice


def gpus(device: str) -> list:
    """The one that is here, whatever its name."""
    if os.environ.get("MEMCAP_DEVICE") != "host":
        return [FakeDevice()]
    from tests.engines.host_device import HostDevice

    class Host(HostDevice):
        torch_device, multiply_adds = FakeDevice.torch_device, FakeDevice.multiply_adds

    return [Host(epochs=(50,), places=2)]


def driver_version() -> str:
    return "none"
