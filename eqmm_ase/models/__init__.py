"""Models that come with EqMM."""
