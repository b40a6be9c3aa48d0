"""Periodic surroundings: the MM potential in a box, and what images of the QM region do to it."""
