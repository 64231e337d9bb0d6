"""Ricochet settlement: chain: contract client, wallets, audit, the embedded dev chain."""

from ricochet_protocol import late_packages

late_packages.install()
