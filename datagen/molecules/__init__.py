"""Molecules as users give them: files and SMILES, bonds, valences, charge and spin."""
