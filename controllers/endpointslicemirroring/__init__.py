"""EndpointSlice mirroring: copies Endpoints that people write into slices, which proxies read."""
