"""The search for the smallest towers that find as much as a user asks for."""
