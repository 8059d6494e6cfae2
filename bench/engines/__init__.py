"""A cell goes in, an outcome comes out: the engines that train, and which cells may train together. `api` says what an engine
is, `choice` which one trains here. `torch_*` is the engine in PyTorch, `native_engine` drives the fused C++ core on CPU
threads, `cuda/` the same core on GPUs; the core itself is in `fused/`. Nothing here reads or writes results.
"""
