"""What the CUDA engine is made of."""
