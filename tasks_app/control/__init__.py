"""Stepping in: what people do to running workers and to whole queues."""
