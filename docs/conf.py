"""How the documentation is built: ``make docs``, offline, and any broken link or reference fails."""

from __future__ import annotations

import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE.parent), str(HERE / "_ext")]

project = "atm-privacy"
author = "the atm-privacy authors"
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "generated", "links", "references"]
exclude_patterns = ["_ext"]

myst_enable_extensions = ["deflist", "colon_fence"]
myst_heading_anchors = 3
suppress_warnings = ["myst.header"]  # a page that is included begins with its own title

default_role = "py:obj"  # docstrings write `name` for a reference and ``text`` for code
nitpicky = True  # see _ext/references.py
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
python_use_unqualified_type_names = True
add_module_names = False
napoleon_use_ivar = True
napoleon_use_rtype = False

smartquotes = False  # or --data becomes a dash

html_theme = "furo"
html_title = "atm-privacy"
html_show_sphinx = False
html_show_copyright = False
html_copy_source = False
html_static_path = ["_static"]
html_css_files = ["site.css"]
