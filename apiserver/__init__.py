"""The API server: HTTP-shaped requests in, objects and watch streams out.

handle(request) is the server; HTTPS (http/) is one adapter, the in-process binding another.
The only room that calls the store.
"""
