"""Ricochet node: the key owner's program."""
