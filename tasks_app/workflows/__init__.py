"""Workflows: their tasks, what is planned, the graph of both, and lists of them."""
