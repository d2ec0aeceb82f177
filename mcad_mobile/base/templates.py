"""Renders pages from jinja2 templates, each beside the module that fills it in."""

from __future__ import annotations

from importlib import resources
from typing import Any

from mcad_mobile.errors import require


def render(package: str, template: str, **values: Any) -> str:
    """Fill in a template of a package; values are escaped. MissingExtra without jinja2."""
    jinja2 = require("jinja2", "report")
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True
    )
    text = resources.files(package).joinpath(template).read_text("utf-8")
    page: str = environment.from_string(text).render(**values)
    return page
