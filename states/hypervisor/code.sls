# Racksalt's code on a host. A minion keeps what it has loaded, so new code needs a new minion; it is restarted
# once this run has been answered. Code and states of one run are of one age, as the code comes last.

hypervisor code:
  saltutil.sync_all:
    - refresh: true
    - order: last

hypervisor minion restart:
  cmd.run:
    - name: systemd-run --collect --on-active=2 sh -c 'systemctl daemon-reload && systemctl restart salt-minion'
    - order: last
    - onchanges:
        - saltutil: hypervisor code
        - file: hypervisor minion settings
        - file: hypervisor minion priority

hypervisor minion settings:
  file.managed:
    - name: /etc/salt/minion.d/racksalt-host.conf
    - source: salt://hypervisor/files/minion.conf
    - mode: '0644'

hypervisor minion priority:
  file.managed:
    - name: /etc/systemd/system/salt-minion.service.d/racksalt.conf
    - source: salt://hypervisor/files/minion-priority.conf
    - mode: '0644'
    - makedirs: true
