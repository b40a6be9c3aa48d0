"""Models on CUDA devices: steps of fixed sizes, and their graphs."""
