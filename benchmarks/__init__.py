"""How fast it is, beside what it is built on and beside its peers: `make bench`."""
