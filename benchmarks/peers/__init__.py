"""The sides of `benchmarks/speed.py`: the same six models in three libraries, and their fits.

`default` holds those of `benchmarks/default.py`.
"""
