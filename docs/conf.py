"""How the site is built: `make docs`. Everything it shows is local, so that it opens from disk without a network."""

from __future__ import annotations

import sys
from pathlib import Path

from splitimpera.core.version import __version__

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE / "_ext")]

from figures import figures  # noqa: E402

project = "Split-Et-Impera"
author = "The Split-Et-Impera developers"
release = version = __version__

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.mathjax",
    "sphinx_copybutton",
    "sphinx_design",
    "local_files",
    "schema_keys",
    "command_options",
    "public_names",
    "executed",  # docs/executed.py: where outputs are kept, Plotly, thumbnails
]
exclude_patterns = ["adr/template.md", "_ext"]
suppress_warnings = [
    "config.cache",  # of functions in the configuration
    "myst-nb.lexer",  # cells have no language where they are not run: -D nb_execution_mode=off
]

myst_enable_extensions = ["colon_fence", "deflist", "dollarmath", "fieldlist", "substitution"]
myst_heading_anchors = 4
myst_substitutions = figures()
nb_execution_mode = "cache"
nb_execution_in_temp = True
nb_output_stderr = "remove"  # that a network is trained, at the first build alone
nb_execution_raise_on_error = True
nb_execution_timeout = 900
nb_merge_streams = True

autodoc_default_options = {"members": True, "exclude-members": "model_post_init, model_config"}
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
python_use_unqualified_type_names = True
python_display_short_literal_types = True
maximum_signature_line_length = 88
napoleon_use_ivar = True  # attributes once, where the class describes them
napoleon_numpy_docstring = False
default_role = "code"
nitpicky = True
# errors that docstrings name are all described; types of signatures are also those of other packages, whose
# inventories are not here, and of records within
nitpick_ignore_regex = [("py:(class|obj)", ".*")]

mathjax_path = "mathjax/tex-chtml.js"
mathjax3_config = {"options": {"enableMenu": False}}  # the menu would load what is not copied

copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True

html_theme = "pydata_sphinx_theme"
html_title = "Split-Et-Impera"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_favicon = "_static/logo.svg"
html_theme_options = {
    "logo": {"image_light": "_static/logo.svg", "image_dark": "_static/logo.svg", "text": "Split-Et-Impera"},
    "use_edit_page_button": False,
    "navbar_align": "left",
    "header_links_before_dropdown": 8,
    "show_toc_level": 2,
    "navigation_with_keys": True,
    "footer_start": ["copyright"],
    "footer_end": [],
    "secondary_sidebar_items": ["page-toc"],
}
html_context = {"default_mode": "auto"}
html_show_sphinx = False
html_copy_source = False
