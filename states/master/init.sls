# A Debian host becomes the master of a rack. /srv/racksalt is a checkout of the project, and
# /opt/racksalt-master an environment with its wheel; see docs/install.md.

master folders:
  file.directory:
    - names:
        - /etc/racksalt/rack
        - /etc/racksalt/tls
        - /var/lib/racksalt/audit
        - /var/lib/racksalt/claims
    - user: root
    - group: root
    - mode: '0700'
    - makedirs: true

master password file:
  file.managed:
    - name: /etc/racksalt/htpasswd
    - mode: '0600'
    - replace: false
    - require:
        - file: master folders

# Only the first key: later ones are made by rack_host.rotate_key. A ring that was lost is restored from the backup first.
master signing key:
  cmd.run:
    - name: >-
        set -e; umask 077;
        mkdir -p /etc/salt/pki/master/racksalt;
        cd /etc/salt/pki/master/racksalt;
        head -c 32 /dev/urandom > .rack-1.new;
        sync .rack-1.new;
        mv .rack-1.new rack-1.key;
        sync .
    - unless: ls /etc/salt/pki/master/racksalt/rack-*.key
    - require:
        - file: master folders

{%- set addresses = grains['ipv4'] | map('regex_replace', '^', 'IP:') | join(',') %}

master certificate:
  cmd.run:
    - name: >-
        umask 077;
        openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 825
        -subj "/CN={{ grains['id'] }}"
        -addext "subjectAltName=DNS:{{ grains['id'] }},DNS:localhost,{{ addresses }}"
        -keyout /etc/racksalt/tls/api.key -out /etc/racksalt/tls/api.crt
    - creates: /etc/racksalt/tls/api.crt
    - require:
        - file: master folders

{%- for name in ('racksalt.conf', 'acl.conf') %}

master configuration {{ name }}:
  file.managed:
    - name: /etc/salt/master.d/{{ name }}
    - source: /srv/racksalt/api-config/{{ name }}
    - mode: '0640'
    - makedirs: true
{%- endfor %}


master name in its configuration:
  file.managed:
    - name: /etc/salt/master.d/racksalt-name.conf
    - contents: 'racksalt_master: {{ grains["id"] }}'
    - mode: '0640'

{%- for daemon in ('salt-master', 'salt-api') %}

{{ daemon }} unit:
  file.managed:
    - name: /etc/systemd/system/{{ daemon }}.service
    - source: salt://master/files/{{ daemon }}.service
    - mode: '0644'

{{ daemon }}:
  service.running:
    - enable: true
    - watch:
        - file: {{ daemon }} unit
        - file: master configuration racksalt.conf
        - file: master configuration acl.conf
        - file: master name in its configuration
    - require:
        - cmd: master certificate
        - cmd: master signing key
        - file: master password file
{%- endfor %}
