"""Whole datasets: merged, split, counted, and in the formats of other programs."""
