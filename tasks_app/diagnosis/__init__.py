"""Why tasks wait, are lost or run twice: observed facts of an application, and rules that find what is wrong.

1. `gather` reads the facts: heartbeats, rows, the catalogue, and the broker as far as Zenith sees it. What nobody knows is None.
2. Each rule is a pure function from facts to findings (rules/); one that needs an unknown fact says nothing.
3. `diagnose` runs the rules and sorts what they find: the worst first, and of those the most direct cause first.
"""
