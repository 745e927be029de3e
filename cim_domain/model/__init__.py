"""The vocabulary a domain is written with: no I/O, no clock, no chance."""
