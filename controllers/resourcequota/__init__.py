"""ResourceQuota: tells in a quota's status what its namespace uses."""
