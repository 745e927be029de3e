"""What tests of a domain are written with."""
