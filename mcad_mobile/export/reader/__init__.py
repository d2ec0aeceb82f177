"""The reader of text in photos: PP-OCR's networks as towers of a bundle."""
