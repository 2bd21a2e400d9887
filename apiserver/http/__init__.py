"""HTTPS for the API server: one adapter over ``handle(request)``, nothing else.

aiohttp speaks HTTP and WebSocket; this package turns its requests into counters.Request, its
connections into users, and answers back into bytes. It decides nothing about objects.
"""
