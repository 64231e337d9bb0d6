"""Coverage-guided fuzzing of everything that reads what a peer has sent; `__main__` runs it."""
