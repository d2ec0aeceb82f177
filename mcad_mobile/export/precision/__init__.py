"""The search for the smallest towers that keep as much recall as a user asks for."""
