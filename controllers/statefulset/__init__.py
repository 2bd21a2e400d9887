"""StatefulSet: pods with stable names, one after the other; never two pods of one identity."""
