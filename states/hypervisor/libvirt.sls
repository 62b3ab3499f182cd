# libvirt and QEMU as migrations between hosts need them: certificates of the rack's own, TLS on, and a lease for every
# disk that is in use. Guests run on through all of it: libvirtd may be restarted under them, virtlockd never is.
{%- set migration = salt["pillar.get"]("racksalt:migration", {}) %}

{%- set folders = {
  "/etc/pki/CA": "0755",
  "/etc/pki/libvirt": "0755",
  "/etc/pki/libvirt/private": "0700",
  "/etc/pki/qemu": "0755",
} %}
{%- for path, mode in folders.items() %}

{{ path }}:
  file.directory:
    - mode: '{{ mode }}'
    - makedirs: true
    - require:
        - pkg: hypervisor packages
{%- endfor %}

{#- QEMU runs as a user of its own, and reads its key by its group. What is a server once is a client another time. #}
{%- set certificates = {
  "/etc/pki/CA/cacert.pem": ("libvirt:authority", "root", "0644"),
  "/etc/pki/libvirt/servercert.pem": ("libvirt:certificate", "root", "0644"),
  "/etc/pki/libvirt/clientcert.pem": ("libvirt:certificate", "root", "0644"),
  "/etc/pki/libvirt/private/serverkey.pem": ("libvirt:key", "root", "0600"),
  "/etc/pki/libvirt/private/clientkey.pem": ("libvirt:key", "root", "0600"),
  "/etc/pki/qemu/ca-cert.pem": ("qemu:authority", "root", "0644"),
  "/etc/pki/qemu/server-cert.pem": ("qemu:certificate", "root", "0644"),
  "/etc/pki/qemu/client-cert.pem": ("qemu:certificate", "root", "0644"),
  "/etc/pki/qemu/server-key.pem": ("qemu:key", "libvirt-qemu", "0640"),
  "/etc/pki/qemu/client-key.pem": ("qemu:key", "libvirt-qemu", "0640"),
} %}
{%- for path, (content, group, mode) in certificates.items() %}

{{ path }}:
  file.managed:
    - contents_pillar: racksalt:migration:tls:{{ content }}
    - user: root
    - group: {{ group }}
    - mode: '{{ mode }}'
    # What changes is told to the master, which keeps it with its jobs.
    - show_changes: false
    - require:
        - file: {{ salt["file.dirname"](path) }}
    - require_in:
        - service: hypervisor libvirtd
        - cmd: hypervisor certificates are read
{%- endfor %}

{#- Leases lie where the disks lie: beside them on shared storage, where other hosts see them, and else on this host. #}
{%- set local_leases = "/var/lib/libvirt/lockd/files" %}
{%- set leases = "/var/lib/racksalt/volumes/.leases" if migration.get("shared_volumes") else local_leases %}

# Hosts that share the folder make it in the same moment: who comes second finds it at the next try.
hypervisor disk leases:
  file.directory:
    - name: {{ leases }}
    - mode: '0700'
    - makedirs: true
    - retry:
        attempts: 3
        interval: 1
    - require:
        - pkg: hypervisor packages
        - file: hypervisor volumes

{%- set settings = {
  "/etc/libvirt/qemu.conf": {
    "default_tls_x509_cert_dir": '"/etc/pki/qemu"',
    "default_tls_x509_verify": 1,
    "migrate_tls_x509_cert_dir": '"/etc/pki/qemu"',
    "migrate_tls_x509_verify": 1,
    "migrate_tls_force": 1,
    "migration_host": '"' ~ migration.get("address", grains["id"]) ~ '"',
    "migration_port_min": 49152,
    "migration_port_max": 49215,
    "lock_manager": '"lockd"',
  },
  "/etc/libvirt/qemu-lockd.conf": {
    "auto_disk_leases": 1,
    "require_lease_for_disks": 1,
    "file_lockspace_dir": '"' ~ leases ~ '"',
  },
} %}
{%- for path, wanted in settings.items() %}
{%- for key, value in wanted.items() %}

{{ path }} {{ key }}:
  file.replace:
    - name: {{ path }}
    - pattern: '^[ \t]*{{ key }}[ \t]*=.*$'
    - repl: {{ (key ~ " = " ~ value) | json }}
    - append_if_not_found: true
    - backup: false
{%- if key == "lock_manager" %}
    # A guest that began without a lease would be given one when it is resumed, and nothing would end that with it.
    - onlyif: grep -q '^lock_manager = "lockd"$' {{ path }} || test -z "$(virsh list --name)"
{%- endif %}
    - require:
        - file: hypervisor disk leases
    - watch_in:
        - service: hypervisor libvirtd
{%- endfor %}
{%- endfor %}

# Its service is started by its first client, and holds the leases of all that runs: nothing here restarts it.
hypervisor leases at boot:
  service.running:
    - name: virtlockd.socket
    - enable: true
    - require:
        - pkg: hypervisor packages

hypervisor libvirtd:
  service.running:
    - name: libvirtd
    - enable: true
    - require:
        - pkg: hypervisor packages
        - service: hypervisor leases at boot

# libvirtd reads them when it starts; connections that are open, and migrations, go on.
hypervisor certificates are read:
  cmd.run:
    - name: virt-admin server-update-tls libvirtd
    - onlyif: systemctl --quiet is-active libvirtd-tls.socket
    - onchanges:
{%- for path in certificates if path.startswith(("/etc/pki/CA/", "/etc/pki/libvirt/")) %}
        - file: {{ path }}
{%- endfor %}
    - require:
        - service: hypervisor libvirtd

hypervisor migration ports closed:
  rack_net.migration_port:
    - require:
        - pkg: hypervisor packages

hypervisor libvirt over TLS after the firewall:
  file.managed:
    - name: /etc/systemd/system/libvirtd-tls.socket.d/racksalt.conf
    - source: salt://hypervisor/files/libvirtd-tls.conf
    - mode: '0644'
    - makedirs: true

# A socket cannot be opened while its service runs; and the service comes by itself while another socket is open and
# has a client: the sockets go first, and who came in between is no reason to give up.
hypervisor libvirt over TLS:
  cmd.run:
    - name: >-
        systemctl daemon-reload;
        systemctl stop libvirtd.socket libvirtd-ro.socket libvirtd-admin.socket;
        systemctl stop libvirtd.service;
        systemctl start libvirtd.socket libvirtd-ro.socket libvirtd-admin.socket libvirtd-tls.socket libvirtd.service
    - unless: systemctl --quiet is-active libvirtd-tls.socket
    - retry:
        attempts: 5
        interval: 2
    - require:
        - service: hypervisor libvirtd
        - rack_net: hypervisor migration ports closed
        - file: hypervisor libvirt over TLS after the firewall
        - file: hypervisor guest firewall unit
        - rack_net: hypervisor guest firewall

hypervisor libvirt over TLS at boot:
  service.enabled:
    - name: libvirtd-tls.socket
    - require:
        - cmd: hypervisor libvirt over TLS
