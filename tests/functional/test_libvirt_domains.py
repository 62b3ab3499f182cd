"""Domains that go away while they are read: they are left out, and nothing is raised."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import libvirt
import pytest

from racksalt import domain_xml
from racksalt.adapters import libvirt_domains
from racksalt.domain_xml import DiskFile, DomainPlan
from racksalt.model import Domain
from tests.unit.test_record import RECORD


class Leaving:
    """A domain that is there for so many questions more; what the handle knows by itself is no question."""

    def __init__(self, handle: Any, questions: int) -> None:
        self._handle, self._left = handle, questions

    @property
    def is_there(self) -> bool:
        return self._left > 0

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._handle, name)
        return found if name in ("UUIDString", "name") else self._asked(found)

    def _asked(self, found: Callable[..., Any]) -> Callable[..., Any]:
        def asked(*arguments: Any) -> Any:
            self._left -= 1
            if self._left < 0:
                return self._handle.connect().lookupByUUIDString("00000000-0000-0000-0000-000000000000")
            return found(*arguments)

        return asked


class Host:
    """A connection on which there is one domain, and soon none."""

    def __init__(self, leaving: Leaving) -> None:
        self._leaving = leaving

    def getAllDomainStats(self, _stats: int, _flags: int) -> list[Any]:
        return [(self._leaving, {"state.state": libvirt.VIR_DOMAIN_SHUTOFF})]

    def lookupByUUIDString(self, _uuid: str) -> Leaving:
        return self._leaving

    def listAllDomains(self, kind: int) -> list[Leaving]:
        return [self._leaving] if kind == libvirt.VIR_CONNECT_LIST_DOMAINS_PERSISTENT and self._leaving.is_there else []


@pytest.fixture
def handle() -> Iterator[Any]:
    libvirt.registerErrorHandler(lambda _context, _error: None, None)
    connection = libvirt.open("test:///default")
    plan = DomainPlan(RECORD, (DiskFile("/d.qcow2", "qcow2"),), "test", "/c.log", None, None)
    yield connection.defineXML(domain_xml.build(plan).replace("type='kvm'", "type='test'"))
    connection.close()


@pytest.mark.parametrize(
    "read",
    [libvirt_domains.read_all, lambda host: libvirt_domains.read(host, [RECORD.uuid])],
    ids=["all", "one"],
)
def test_a_domain_that_goes_away_at_any_question_raises_nothing(
    handle: Any, read: Callable[[Any], tuple[Domain, ...]]
) -> None:
    found = [read(Host(Leaving(handle, questions))) for questions in range(8)]
    assert found[0] == () and [domain.record for domain in found[-1]] == [RECORD]
    assert all(len(domains) <= 1 for domains in found)
