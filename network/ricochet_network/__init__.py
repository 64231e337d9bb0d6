"""Ricochet network: peers: transports, multiplexed requests, discovery."""

from ricochet_protocol import late_packages

late_packages.install()
