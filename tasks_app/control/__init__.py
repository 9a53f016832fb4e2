"""Control of running workers and of whole queues."""
