"""Campaigns: many labels, a ledger that survives everything, and where they are computed."""
