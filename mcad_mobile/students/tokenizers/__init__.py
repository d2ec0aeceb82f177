"""Convert libraries' tokenizers to the tokenizer file of a bundle."""
