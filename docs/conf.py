"""Sphinx settings; the command is `python -m sphinx -W docs docs/_build`."""

from importlib.metadata import version as installed_version
from importlib.util import find_spec

project = "fastnorm"
author = "fastnorm contributors"
copyright = "2026, fastnorm contributors"
release = version = installed_version("fastnorm-numba")

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.mathjax", "sphinx.ext.napoleon"]
exclude_patterns = ["_build"]

myst_enable_extensions = ["amsmath", "attrs_inline", "colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 3

# The page of the API needs no engine to be installed.
autodoc_mock_imports = [library for library in ("pyspark", "ray", "torch") if find_spec(library) is None]
autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
napoleon_google_docstring = False

html_theme = "furo"
html_title = f"fastnorm {release}"
