# Roles come from the rack's files: `writer` and `hosts` in hosts.yaml.
base:
  'racksalt:roles:master':
    - match: pillar
    - master
  'racksalt:roles:hypervisor':
    - match: pillar
    - hypervisor
