"""Settings of Sphinx, which builds the API reference from the docstrings."""

import tb_adam_plugin

project = "Adam Debug"
author = "the Adam Debug authors"
release = version = tb_adam_plugin.__version__

extensions = ["sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.doctest"]
autodoc_typehints = "description"
autodoc_member_order = "bysource"
autodoc_default_options = {"members": True}
napoleon_numpy_docstring = False
napoleon_use_ivar = True
html_theme = "alabaster"
html_theme_options = {"nosidebar": True}
html_show_sourcelink = False
