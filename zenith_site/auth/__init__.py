"""Authentication and permissions: tokens, sessions, sockets, and the first admin."""
