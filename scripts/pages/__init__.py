"""Generated pages: each module has a function that returns a page's text."""
