"""Partitioned data assets: declared, planned, built, checked, published and recorded."""
