"""A plugin for the mlflow client: scripts that use mlflow log through Seafloor's write-ahead file.

mlflow loads ``entry`` by its entry points and calls it for ``seafloor+http`` addresses. Only then
is the rest imported: mlflow is no dependency of Seafloor, and Seafloor costs a script nothing that
does not use it. ``tracking`` is the store: what is logged goes to a ``journal`` of its run, all
else by mlflow's own calls to the same server.
"""
