"""Configuration of the documentation."""

import sys
from pathlib import Path

import skdam

# For gallery_order.py.
sys.path.insert(0, str(Path(__file__).parent))

project = "skdam"
author = "skdam developers"
copyright = "skdam developers"
version = release = skdam.__version__

extensions = [
    "myst_parser",
    "numpydoc",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.intersphinx",
    "sphinx.ext.mathjax",
    "sphinx_gallery.gen_gallery",
]
templates_path = ["_templates"]
exclude_patterns = ["_build"]

myst_enable_extensions = ["deflist", "dollarmath"]
numpydoc_show_class_members = False
# Docstrings state types.
autodoc_typehints = "none"
toc_object_entries_show_parents = "hide"

intersphinx_mapping = {
    "numpy": ("https://numpy.org/doc/stable", None),
    "python": ("https://docs.python.org/3", None),
    "sklearn": ("https://scikit-learn.org/stable", None),
}

sphinx_gallery_conf = {
    "examples_dirs": "../examples",
    "gallery_dirs": "auto_examples",
    "filename_pattern": "/(plot_|quickstart)",
    "ignore_pattern": "/benchmarks/",
    "within_subsection_order": "gallery_order.QuickStartFirst",
    "matplotlib_animations": True,
    # Return values of calls are not printed.
    "capture_repr": (),
    "reference_url": {"skdam": None},
}

html_theme = "pydata_sphinx_theme"
html_title = "skdam"
# Pages of the first level have nothing beside them.
html_sidebars = {"*": []}
