"""The Sphinx build; `make docs`."""

project = "pyrovi"
author = "The pyrovi developers"
copyright = "the pyrovi developers, Apache-2.0"

extensions = ["myst_parser"]
myst_heading_anchors = 3
exclude_patterns = ["_build"]

html_theme = "pydata_sphinx_theme"
html_title = "pyrovi"
html_sidebars = {"**": []}
html_theme_options = {"show_prev_next": False}
