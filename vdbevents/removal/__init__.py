"""Removal: what is pruned, forgotten or redacted, from every file that holds it."""
