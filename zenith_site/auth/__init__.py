"""Who may come in: tokens, sessions, sockets, and the first admin."""
