# A Debian host becomes a hypervisor of the rack. A new one needs the code first: salt HOST saltutil.sync_all
{%- set rack = salt["pillar.get"]("racksalt", {}) %}

include:
  - hypervisor.code
  - hypervisor.libvirt

hypervisor packages:
  pkg.installed:
    - reload_modules: true
    - pkgs:
        - dnsmasq-base
        - dnsmasq-utils
        - libvirt-clients
        - libvirt-daemon-system
        - nftables
        - python3-libvirt
        - python3-pycdlib
        - qemu-system-x86
        - qemu-utils
    - require_in:
        - saltutil: hypervisor code

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

{%- for name in rack.get("networks", {}) %}

addresses {{ name }}:
  file.directory:
    - name: /var/lib/racksalt/leases/{{ name }}
    - mode: '0755'
    - makedirs: true
    - require_in:
        - rack_net: network {{ name }}
{%- endfor %}

{%- for name, spec in rack.get("networks", {}).items() %}

network {{ name }}:
  rack_net.present:
    - name: {{ name }}
    - spec: {{ spec | json }}
    - require:
        - cmd: hypervisor libvirt over TLS
{%- endfor %}

{#- Guests get to no network that this host is in itself; the rack's own are closed by the names of their bridges. #}
{%- set guest_subnets = rack.get("networks", {}).values() | map(attribute="subnet") | list %}

hypervisor guest firewall:
  rack_net.firewall:
    - management: {{ salt["network.subnets"]() | reject("in", guest_subnets) | list | json }}
    - require:
        - pkg: hypervisor packages

hypervisor guest firewall unit:
  file.managed:
    - name: /etc/systemd/system/racksalt-guests.service
    - source: salt://hypervisor/files/racksalt-guests.service
    - mode: '0644'

hypervisor guest firewall at boot:
  service.enabled:
    - name: racksalt-guests
    - require:
        - file: hypervisor guest firewall unit

# libvirt's autostart stays off: which VMs start at a boot is the writer's word first.
hypervisor boot unit:
  file.managed:
    - name: /etc/systemd/system/racksalt-boot.service
    - source: salt://hypervisor/files/racksalt-boot.service
    - mode: '0644'

hypervisor boot unit at boot:
  service.enabled:
    - name: racksalt-boot
    - require:
        - file: hypervisor boot unit

{%- for image in rack.get("images", []) %}

image {{ image["sha256"] }}:
  rack_image.present:
    - name: {{ image["sha256"] | json }}
    - url: {{ image["url"] | json }}
    - require:
        - file: hypervisor image store
{%- endfor %}
