"""What workers and servers share: message headers, Redis keys and client, the stream of events, claims, heartbeats, queues."""
