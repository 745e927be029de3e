"""The write side: commands are read, decided about, carried out and remembered."""
