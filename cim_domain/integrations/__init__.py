"""Glue to what others run: metrics for Prometheus."""
