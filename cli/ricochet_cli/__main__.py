"""`python -m ricochet_cli`: how the demo starts its own processes, whatever is on the PATH."""

from ricochet_cli.main import run

run()
