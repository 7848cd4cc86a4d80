"""Conformance suites, fakes and faults: public, so that others can test their own backend."""
