"""Loops over pairs and edges, compiled by numba when first called. Arrays in, arrays out."""
