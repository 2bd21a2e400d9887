"""The watch cache: the one read path.

The store's single watch feeds one cache per kind; gets, lists and watches are answered from here
with bytes that were made once.
"""
