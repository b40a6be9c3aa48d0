"""Kernels of our own in place of PySCF's, where those take most of the time."""
