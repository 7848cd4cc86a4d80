"""What the script ``seafloor`` calls. It imports next to nothing, so that it is there at once."""

from __future__ import annotations

import signal


def main() -> int:
    """Run the command of this process; Ctrl-C never shows a traceback.

    While the modules of the command line are loaded, a tenth of a second and more, there is
    nothing to tell and nothing to clear away: Ctrl-C ends the process by the system's own hand, as
    one that comes after its end does. Whoever has it ignored (``nohup``, a shell's background) or
    has a handler of his own keeps that.

    Returns:
        The exit code.
    """
    is_ours = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if is_ours:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from seafloor.cli import main as command_line

    try:
        if is_ours:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        code = command_line.main()
    except KeyboardInterrupt:  # a second one, while the first was told
        code = 130
    if is_ours:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    return code
