"""Tokenizers of libraries, written as the file that a bundle holds."""
