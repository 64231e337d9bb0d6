"""Ricochet settlement: chain: contract client, wallets, audit, the embedded dev chain."""
