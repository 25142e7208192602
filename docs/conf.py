"""How the site is built: `make docs`. Everything it shows is local, so that it opens from disk without a network."""

from __future__ import annotations

import sys
from pathlib import Path

from splitimpera.core.version import __version__

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

project = "Split-Et-Impera"
author = "The Split-Et-Impera developers"
release = version = __version__

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.mathjax",
    "sphinx-mathjax-offline",
    "sphinx_copybutton",
    "sphinx_design",
    "executed",  # docs/executed.py: where outputs are kept, Plotly, thumbnails
]
exclude_patterns = ["adr/template.md"]

myst_enable_extensions = ["colon_fence", "deflist", "dollarmath", "fieldlist", "substitution"]
myst_heading_anchors = 4
nb_execution_mode = "cache"
nb_execution_in_temp = True
nb_output_stderr = "remove"  # that a network is trained, at the first build alone
nb_merge_streams = True
nb_execution_raise_on_error = True
nb_execution_timeout = 900

html_theme = "pydata_sphinx_theme"
html_title = "Split-Et-Impera"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_theme_options = {"use_edit_page_button": False}
html_copy_source = False
