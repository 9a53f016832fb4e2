"""What pages and the API read of tasks, batches, dead letters, events, workers and queues; nothing here writes."""
