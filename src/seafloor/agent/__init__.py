"""Wraps every task, everywhere. Standard library only, Python 3.8+.

``exec`` starts a command and keeps what it prints; ``ship`` delivers what a lost agent left. Both
run from one file that ``bundle`` makes, with whatever Python there is. A task has a folder:

=============  =====================================================================
task.json      what to do; written by the launcher (``task.py``)
agent.lock     held by the agent that lives: the lock tells, not the process id
agent.json     which process watches which command
log.spool      what the command printed (docs/formats/log-spool.md)
shipped        how much of it the server has taken; a hint only, the server knows
stop.json      written by the launcher: end the command
exit.json      how the command ended
done.json      everything was delivered, or why it never can be
=============  =====================================================================
"""
