"""How a text becomes token ids, step by step, over a file that is mapped and not loaded. The Java
engine's `mcad.engine.text` has the same files and the same steps."""
