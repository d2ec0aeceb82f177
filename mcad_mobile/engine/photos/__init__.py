"""Photos as files: which there are, how they are read, and what becomes of their pixels."""
