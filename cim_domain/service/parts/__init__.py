"""What a service is made of, a part a file; `Service._start` puts them together."""
