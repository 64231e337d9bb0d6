"""Ricochet orchestrator: the subscriber's program: documents, chains, routing, checkpoints."""
