"""Reference data for EqMM: sample molecules in their surroundings, label them with PySCF."""
