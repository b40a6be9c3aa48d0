"""Molecules in solvent: force fields, boxes, molecular dynamics, and frames of them."""
