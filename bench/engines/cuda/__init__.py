"""The CUDA engine: the fused core's kernels compiled, trusted and launched on NVIDIA GPUs, a lane of slices for each device.

What trains is in `fused/`, shared with the CPU; here is what a GPU needs around it.
"""
