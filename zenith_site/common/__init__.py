"""What both apps build on: callers, pages, lists, errors, loops. It imports neither app (docs/decisions/0009)."""
