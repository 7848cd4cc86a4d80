"""Workloads as objects of Kubernetes: pure, from what is asked for to complete manifests."""
