"""The attacks that `benchmarks/adversary.py` plays: actors, the chain they meet on, and results."""
