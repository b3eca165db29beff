"""The command line: the same verbs, from files to files; and `compare`, many fits at once.

Standard output has the result, standard error all else. A mistake is one line and exit code 2, an
interruption exit code 130; neither leaves a half-written folder behind. torch and Pyro load only
in the commands that fit or draw.
"""

from pyrovi.cli.commands import app as app
from pyrovi.cli.exits import main as main
