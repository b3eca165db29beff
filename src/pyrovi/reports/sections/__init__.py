"""The sections of a report, a file each: the verdict first, provenance last.

Every section is a function of the tree and its verdict that gives plain data, or None where there
is nothing to say; a group that is not there makes it shorter, never an error. Long tables are cut
at a stated length, the worst first.
"""
