"""Processes that compute calls: watched, limited, replaced when they die."""
