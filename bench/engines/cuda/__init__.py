"""The parts of the CUDA engine."""
