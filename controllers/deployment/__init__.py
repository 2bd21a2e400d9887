"""Deployment: rolls ReplicaSets; never touches a pod."""
