"""Reads the text in photos, with a bundle's reader."""
