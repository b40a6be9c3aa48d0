"""Training: from labelled frames and settings to a model file."""
