"""What users import: the client (``Client``) and tracking (``start_run``, ``log_metrics``, …).

``tracking`` writes records to the ``spool`` first (format: ``wal``); the ``sender`` reads them and
hands them to the ``courier``, as ``sync`` does with what a dead process left behind. ``client`` has
one object for each noun of the API, all over one ``transport``.
"""
