"""Service CIDRs: keeps an IPAddress for each cluster IP, and says which ranges are used."""
