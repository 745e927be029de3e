"""Answering requests, and being found: services as NATS knows them."""
