"""Settings of Sphinx. build.py runs it, on what stage.py has gathered."""

import json
import os
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
STAGED = Path(os.environ["MINIDL_DOCS"])  # build.py sets it
sys.path[:0] = [str(HERE), str(HERE.parent.parent)]

import minidl  # noqa: E402

project = "minidl"
version = release = minidl.__version__
copyright = "the authors of minidl"
html_title = "minidl"
html_short_title = "minidl"

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.napoleon",
    "sphinx.ext.linkcode",
    "myst_parser",
    "sphinx_copybutton",
    "sphinx_gallery.gen_gallery",
    "docstrings",
    "live",
    "maths",
    "playgrounds",
    "source_pages",
]
exclude_patterns = ["static", "extra", "examples"]
source_files = json.loads((STAGED / "sources.json").read_text(encoding="utf-8"))

myst_enable_extensions = ["dollarmath", "amsmath", "deflist", "html_image"]
myst_heading_anchors = 6
myst_url_schemes = {"http": None, "https": None, "mailto": None, "source": None}
suppress_warnings = ["config.cache", "myst.header"]

html_theme = "furo"
html_theme_options = {"navigation_with_keys": False, "top_of_page_buttons": []}
html_static_path = [str(HERE / "static"), str(STAGED / "static")]
html_extra_path = [str(STAGED / "extra")]
html_favicon = str(HERE / "static" / "icon.svg")
html_css_files = ["site.css"]
html_show_sourcelink = False
html_copy_source = False
html_show_sphinx = False
html_math_renderer = "mathml"
pygments_style = "default"
pygments_dark_style = "github-dark"
highlight_language = "none"
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True
copybutton_selector = "div:not(.live) > div.highlight pre"

default_role = "py:obj"
add_module_names = False
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 72
autodoc_typehints_format = "short"
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
napoleon_numpy_docstring = False
napoleon_use_rtype = False

from gallery import settings as sphinx_gallery_conf  # noqa: E402, F401
from reference import linkcode_resolve  # noqa: E402, F401
