"""What can go wrong in a rackbox, told in one line."""


class RackboxError(Exception):
    """Something the rackbox could not do; the message names the object, what was found and the remedy."""

    exit_code = 1


class PreconditionError(RackboxError):
    """The machine lacks something; one line for each shortfall."""

    exit_code = 2


class CommandError(RackboxError):
    """A command ended with an exit code that was not expected."""

    def __init__(self, argv: list[str], returncode: int, output: str) -> None:
        self.argv = argv
        self.returncode = returncode
        self.output = output
        tail = "\n".join(output.strip().splitlines()[-15:])
        super().__init__(f"`{' '.join(argv)[:300]}` ended with {returncode}: {tail or 'no output'}")


class CommandTimeoutError(RackboxError):
    """A command took longer than it may and was ended."""

    def __init__(self, argv: list[str], timeout_s: float) -> None:
        self.argv = argv
        self.timeout_s = timeout_s
        super().__init__(f"`{' '.join(argv)[:300]}` did not end within {timeout_s:g} s and was ended")
