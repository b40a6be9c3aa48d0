"""Errors of a model on labelled frames: figures, tables and plots."""
