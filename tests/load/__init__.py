"""Drivers that load a page on this machine, loopback only, each with an end: `crowd`, `soak`, `stops`, `replicas`."""
