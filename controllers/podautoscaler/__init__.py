"""HorizontalPodAutoscaler: scales what runs by what its pods use."""
