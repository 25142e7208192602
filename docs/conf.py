"""How the site is built: `make docs`. Everything it shows is local, so that it opens from disk without a network."""

from __future__ import annotations

from pathlib import Path

from splitimpera.core.version import __version__

HERE = Path(__file__).parent

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
]
exclude_patterns = ["adr/template.md"]

myst_enable_extensions = ["colon_fence", "deflist", "dollarmath", "fieldlist", "substitution"]
myst_heading_anchors = 4
nb_execution_mode = "cache"
nb_execution_cache_path = str(HERE.parent / "build" / "gallery")
nb_execution_raise_on_error = True
nb_execution_timeout = 900

html_theme = "pydata_sphinx_theme"
html_title = "Split-Et-Impera"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_theme_options = {"use_edit_page_button": False}
html_copy_source = False
