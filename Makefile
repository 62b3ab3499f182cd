# Thin: each target is one line. TOOLS is the environment that tests and linters run in.
TOOLS = $(shell rackbox/tools)
export PYTHONPATH = _utils:rackbox:.
export PYTHONDONTWRITEBYTECODE = 1
.PHONY: demo demo-down test lint promises bench acl docs

demo: ; @rackbox/rackbox demo
demo-down: ; @rackbox/rackbox down
test: ; @t=$(TOOLS) && $$t/bin/python -m pytest -n 2 --dist loadfile $(ARGS)
lint: ; @t=$(TOOLS) && $$t/bin/python -m pytest tests/lint $(ARGS)
promises: ; @t=$(TOOLS) && $$t/bin/python -m pytest -n 2 --dist loadfile -m promise --promises $(ARGS)
bench: ; @t=$(TOOLS) && $$t/bin/python -m tests.bench $(if $(ONLY),--only $(ONLY))
acl: ; @t=$(TOOLS) && $$t/bin/python -m racksalt.acl_file api-config/acl.conf
docs: ; @t=$(TOOLS) && $$t/bin/python docs/reference.py
