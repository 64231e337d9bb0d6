"""Ricochet protocol: values and rules that peers agree on; nothing here does input or output."""
