"""The tenants' API, served by salt-api: configured by ``rack_api:`` in the master's configuration.

.. code-block:: yaml

    rack_api:
      port: 8000
      ssl_crt: /etc/racksalt/tls/api.crt
      ssl_key: /etc/racksalt/tls/api.key
"""

from __future__ import annotations

import logging
from typing import Any

log = logging.getLogger(__name__)

__virtualname__ = "rack_api"

__opts__: dict[str, Any]


def __virtual__() -> str | bool:
    return __virtualname__ if "port" in (__opts__.get("rack_api") or {}) else False


def start() -> None:
    """Serve until stopped; there is no way to switch TLS off."""
    import cherrypy

    from racksalt.adapters import this_rack
    from racksalt.api import app, tls

    settings = __opts__["rack_api"]
    application = app.get_app(__opts__, settings, tell=this_rack.tell(__opts__))
    cherrypy.server.ssl_module = tls.SSL_MODULE
    cherrypy.server.ssl_certificate = settings["ssl_crt"]
    cherrypy.server.ssl_private_key = settings["ssl_key"]
    cherrypy.server.instance = tls.Server(cherrypy.server)
    cherrypy.quickstart(application)
