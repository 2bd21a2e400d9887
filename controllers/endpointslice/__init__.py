"""EndpointSlices: which pods stand behind each Service, in slices of at most 100."""
