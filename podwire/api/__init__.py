"""Kubernetes' objects as data: kinds, views, codecs, selectors, patches, defaults, validation.

Pure: no I/O, no clock, no chance. Everyone above may call this room; it calls
only ``runtime.ports`` and ``runtime.civil``.

Where to look: ``kinds`` what is served, ``views`` typed reading, ``objects`` the API server's
counter (decode, patch, default, validate), ``schema`` the table of types that ``structure``,
``protobuf``, ``strategic`` and ``managed`` are driven by, ``managed`` who owns which field and
server-side apply, ``status`` errors, ``selectors``, ``quantity``,
``times``, ``names``, ``podports``, ``qos`` the small words that every room shares.
"""
