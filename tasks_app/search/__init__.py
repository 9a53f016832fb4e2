"""The search language: its parser, what it means in SQL, which index is walked, and the walk."""
