"""Ricochet orchestrator: the subscriber's program, which runs chains of models over documents."""
