# A Debian host becomes a hypervisor of the rack.
{%- set rack = salt["pillar.get"]("racksalt", {}) %}

hypervisor packages:
  pkg.installed:
    - pkgs:
        - dnsmasq-base
        - dnsmasq-utils
        - libvirt-clients
        - libvirt-daemon-system
        - nftables
        - python3-libvirt
        - qemu-system-x86
        - qemu-utils
        - xorriso

hypervisor libvirtd:
  service.running:
    - name: libvirtd
    - enable: true
    - require:
        - pkg: hypervisor packages

hypervisor image store:
  file.directory:
    - name: /var/lib/racksalt/images
    - makedirs: true
    - replace: false

hypervisor volumes:
  file.directory:
    - name: /var/lib/racksalt/volumes
    - mode: '0711'
    - makedirs: true

hypervisor minion settings:
  file.managed:
    - name: /etc/salt/minion.d/racksalt-host.conf
    - source: salt://hypervisor/files/minion.conf
    - mode: '0644'

{%- for name, spec in rack.get("networks", {}).items() %}

network {{ name }}:
  rack_net.present:
    - name: {{ name }}
    - spec: {{ spec | json }}
    - require:
        - service: hypervisor libvirtd
{%- endfor %}

{%- for image in rack.get("images", []) %}

image {{ image["sha256"] }}:
  rack_image.present:
    - name: {{ image["sha256"] | json }}
    - url: {{ image["url"] | json }}
    - require:
        - file: hypervisor image store
{%- endfor %}

# The minion keeps racksalt's code loaded: new code needs a new minion, once this run has been answered.
hypervisor code:
  saltutil.sync_all:
    - refresh: true

hypervisor minion restart:
  cmd.run:
    - name: systemd-run --collect --on-active=2 systemctl restart salt-minion
    - onchanges:
        - saltutil: hypervisor code
        - file: hypervisor minion settings
