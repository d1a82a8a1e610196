"""Device, number format and throughput of this machine."""
