"""Racksalt's face over HTTP, served by salt-api."""
