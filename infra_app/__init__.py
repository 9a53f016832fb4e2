"""Docker hosts and the worker nodes on them: containers started, watched and stopped."""
