"""The rackbox: systemd-nspawn hosts with their own libvirt, network and Salt minion, on one machine."""
