"""HTTPS for the API server: one adapter over ``handle(request)``, nothing else.

``parser`` makes requests of bytes (llhttp, strict, bounded), ``connection`` answers them in order,
``writing`` and ``heads`` make bytes of answers, ``authn`` users of certificates and tokens,
``upgraded`` what a connection becomes after 101. ``upgrade`` decides who speaks then: commands
(``remotecommand``) and ports (``portforward``) over ``websocket`` or ``spdy``. It decides nothing
about objects.
"""
