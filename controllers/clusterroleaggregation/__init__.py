"""ClusterRole aggregation: an aggregationRule gives a role the rules of those that it selects."""
