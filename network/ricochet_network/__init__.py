"""Ricochet network: peers: transports, multiplexed requests, discovery."""
