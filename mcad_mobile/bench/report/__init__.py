"""Reports of mcad-bench/1 documents: an HTML page, Markdown, and regressions since a baseline."""

from mcad_mobile.bench.document import load_documents
from mcad_mobile.bench.report.markdown import markdown
from mcad_mobile.bench.report.page import html
from mcad_mobile.bench.report.regressions import Regression, regressions

__all__ = ["Regression", "html", "load_documents", "markdown", "regressions"]
