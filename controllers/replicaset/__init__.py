"""ReplicaSet: keeps the wanted number of pods; knows nothing of rollouts."""
