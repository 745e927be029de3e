"""How things look to people at a terminal."""
