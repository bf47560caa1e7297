"""How fast fastnorm is, beside what the machine can do: `python -m benchmarks --help`."""
