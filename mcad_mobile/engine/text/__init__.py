"""Turns text into token ids, step by step, from a memory-mapped tokenizer file. The Java engine's
`io.github.mcadmobile.engine.text` has the same files and the same steps."""
