"""The write side of the domain `DOMAIN`: what may happen, and what follows."""
