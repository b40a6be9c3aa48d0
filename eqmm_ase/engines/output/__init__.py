"""What runs of whole systems write: trajectories, and tables of the ML region."""
