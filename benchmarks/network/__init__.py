"""What calls between peers cost, in two processes; `__main__` says how it is run."""
