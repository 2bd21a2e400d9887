"""The cluster's DNS server: Corefile, plugin chain, answers.

Runs as pods; talks to the API and to its pod's sockets.
"""
