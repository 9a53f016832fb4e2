"""Garbage into every place that other programs write: nothing stops, and what is bad is counted."""
