"""Ricochet cli: the commands a person types."""
