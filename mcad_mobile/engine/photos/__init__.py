"""Photo files: finding, reading and dating them, and turning them into pixels."""
