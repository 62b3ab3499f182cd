"""VMs that benches make by hand, beside ours, and the end of all of them."""

from __future__ import annotations

from rackbox_lib.rack import Rack

#: On a host: one VM, whose number is ``$1``, with the same disk, seed and XML (``create.prepare_raw``) as ours.
START = """
set -e
disk=/var/lib/racksalt/volumes/raw
qemu-img create -q -f qcow2 $disk$1.qcow2 1G
xorrisofs -quiet -volid cidata -joliet -rock -output $disk$1.iso /tmp/raw-seed
sed "s,<name>raw1<,<name>raw$1<,; s,/volumes/raw\\.,/volumes/raw$1.,; s,qemu/raw\\.console,qemu/raw$1.console," \
    /tmp/raw.xml > /tmp/raw$1.xml
virsh -q define /tmp/raw$1.xml
virsh -q start raw$1
"""

_WIPE = """
for name in $(virsh list --name); do virsh -q destroy $name & done
wait
for name in $(virsh list --all --name); do virsh -q undefine $name; done
for file in /var/lib/racksalt/leases/nat/*; do
    IFS=, read -r mac address < "$file" && dhcp_release rs-nat "$address" "$mac"
done
rm -f /var/lib/racksalt/volumes/raw* /var/lib/racksalt/volumes/acme/* /var/lib/racksalt/leases/nat/*
"""


def wipe(rack: Rack) -> None:
    """No VM, ours or not, on any host, and no claim."""
    for host in rack.hosts():
        host.run(["sh", "-c", _WIPE], timeout_s=120)
    rack.master.run(["sh", "-c", "rm -f /var/lib/racksalt/claims/*.json"], timeout_s=20)
