"""The parts of `benchmarks/node.py`: a provider's double, load, the gateways, and the accounts."""
