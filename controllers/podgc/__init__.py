"""Pod garbage collector: removes pods of vanished nodes, and terminating ones that nobody ends."""
