"""One connection to a server: made, kept, encrypted, and what travels over it."""
