"""What both apps build on: who asks, how pages and lists answer, errors, loops. It knows neither app (docs/decisions/0009)."""
