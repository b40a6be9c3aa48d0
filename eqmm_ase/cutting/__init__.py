"""QM regions cut out of simulations of other programs."""
