"""Frames: QM regions in their charges with labels, what must hold of them, and their comparison."""
