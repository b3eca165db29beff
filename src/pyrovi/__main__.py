"""`python -m pyrovi` is the command line."""

from pyrovi.cli import main

main()
