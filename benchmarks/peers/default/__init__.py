"""The sides of `benchmarks/default.py`: models as people write them, in Pyro and in NumPyro."""
