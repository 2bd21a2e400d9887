"""What containers run: modelled programs by image and command.

A program is a coroutine over an ``ExecEnv`` (files, sockets, time of one container); it never
touches the API. ``registry.py`` is the one ordered list of images. An image nobody models runs as
the *generic program*, and says so.
"""
