"""Where views are kept: one port, and an adapter each for memory and for SQL databases."""
