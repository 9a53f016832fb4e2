"""The search language: parser, conditions in SQL, the planner that picks an index, and the index scan."""
