"""The subscriber's HTTP API (adr/020); the only part of the program that loads FastAPI."""
