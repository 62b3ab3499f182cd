"""Stories of a rack: what is done, what goes wrong, and how all of it stands at the end.

The runners' own code runs over the fakes of ``tests/fakes.py``. ``stage.py`` has the rack and its callers,
``faults.py`` what may go wrong, ``view.py`` the rack as lines of text, and ``story.py`` the form of a case.
"""
