"""Generated pages: each module has a function that returns the text of a page."""
