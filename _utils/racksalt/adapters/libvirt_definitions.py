"""Domains of this host's libvirt as they are defined, and taking a definition out of the way."""

from __future__ import annotations

from collections.abc import Iterator
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

import libvirt

from racksalt import holdings
from racksalt.holdings import Definition

#: With what it keeps secret: without that, what is defined again would have lost it.
_WHOLE = libvirt.VIR_DOMAIN_XML_INACTIVE | libvirt.VIR_DOMAIN_XML_SECURE
#: What belongs to a domain beside its definition stays where it is.
KEEP = libvirt.VIR_DOMAIN_UNDEFINE_KEEP_NVRAM | libvirt.VIR_DOMAIN_UNDEFINE_KEEP_TPM


def of_all(connection: libvirt.virConnect) -> Iterator[Definition]:
    """Every domain; one that goes away meanwhile is not there."""
    for domain in connection.listAllDomains():
        try:
            saved = _parsed(domain, libvirt.VIR_DOMAIN_XML_INACTIVE) if domain.isPersistent() else None
            live = _parsed(domain, 0) if domain.isActive() else None
        except libvirt.libvirtError as error:
            if error.get_error_code() == libvirt.VIR_ERR_NO_DOMAIN:
                continue
            raise
        if saved is not None or live is not None:
            yield holdings.definition_of(domain.UUIDString(), saved, live)


def whole(domain: libvirt.virDomain) -> str:
    """The permanent definition, as it can be defined again."""
    return str(domain.XMLDesc(_WHOLE))


def set_aside(domain: libvirt.virDomain) -> str:
    """Undefine a domain and nothing else: libvirt refuses where saved memory or snapshots would be lost."""
    xml = whole(domain)
    domain.undefineFlags(KEEP)
    return xml


def _parsed(domain: libvirt.virDomain, flags: int) -> Element:
    return ElementTree.fromstring(domain.XMLDesc(flags))
