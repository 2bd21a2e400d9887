"""Garbage collector: deletes dependents whose owners are gone, by owner references' uids."""
