"""mcad-bench/1 documents for people: a page, Markdown, and what got worse since a baseline."""

from mcad_mobile.bench.document import load_documents
from mcad_mobile.bench.report.markdown import markdown
from mcad_mobile.bench.report.page import html
from mcad_mobile.bench.report.regressions import Regression, regressions

__all__ = ["Regression", "html", "load_documents", "markdown", "regressions"]
