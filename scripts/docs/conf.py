"""How Sphinx builds the documentation: `scripts/build_docs` makes the site in build/docs."""

from __future__ import annotations

import sys
from pathlib import Path

from docutils import nodes
from docutils.utils.math.latex2mathml import tex2mathml
from sphinx.application import Sphinx
from sphinx.writers.html5 import HTML5Translator

from eqmm_ase import __version__

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # to find our own extension

project = "EqMM"
author = "The EqMM developers"
copyright = f"2026, {author}"
release = version = __version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx_click",
    "sphinx_copybutton",
    "scripts.docs.reference_pages",
]

# Markdown: equations between dollar signs, anchors for headings so that pages can link to them.
myst_enable_extensions = ["colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 3

# Docstrings are numpydoc without types: those come from the annotations. `name` is code in them,
# and a link where it names something on the page.
default_role = "py:obj"
napoleon_google_docstring = False
napoleon_use_rtype = False
napoleon_use_ivar = True  # settings are listed in the docstring of their class
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented_params"
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
autodoc_type_aliases = {"ArrayLike": "ArrayLike", "FloatArray": "numpy.ndarray"}

# Commands are copied without their prompt, and output not at all.
copybutton_selector = "div:not(.highlight-text) > div.highlight > pre"
copybutton_exclude = ".linenos, .gp, .go"

html_theme = "furo"
html_title = f"EqMM {release}"
html_static_path = ["static"]
html_css_files = ["eqmm.css"]
html_theme_options = {
    "light_css_variables": {"color-brand-primary": "#1f5f8b", "color-brand-content": "#1f5f8b"},
    "dark_css_variables": {"color-brand-primary": "#7db7dd", "color-brand-content": "#7db7dd"},
}
html_show_sourcelink = False
html_math_renderer = "mathml"


def inline_equation(translator: HTML5Translator, node: nodes.math) -> None:
    """Write an equation as MathML, which browsers draw without a script from elsewhere."""
    translator.body.append(tex2mathml(node.astext()))
    raise nodes.SkipNode


def block_equation(translator: HTML5Translator, node: nodes.math_block) -> None:
    """Write an equation on lines of its own, which scroll where the screen is narrower."""
    translator.body.append(
        f'<div class="equation">{tex2mathml(node.astext(), as_block=True)}</div>'
    )
    raise nodes.SkipNode


def setup(app: Sphinx) -> None:
    """Sphinx calls this before it builds."""
    app.add_html_math_renderer("mathml", (inline_equation, None), (block_equation, None))
