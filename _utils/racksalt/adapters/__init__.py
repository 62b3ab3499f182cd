"""Each module here is the only one that talks to one outside thing."""
