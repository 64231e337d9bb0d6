"""What the orchestrator is measured by; each module prints JSON."""
