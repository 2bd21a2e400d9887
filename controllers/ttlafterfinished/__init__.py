"""TTL after finished: deletes Jobs some time after their end."""
