#!/usr/bin/env python3
"""What Helm rendered, for a small node: requests of CPU, and nothing else, are fewer."""

import sys

import yaml

CPU = "100m"


def fitted(value):
    """The same with what its containers ask for."""
    if isinstance(value, dict):
        value = {key: fitted(each) for key, each in value.items()}
        if "requests" in value and "cpu" in value["requests"]:
            value["requests"]["cpu"] = CPU
    elif isinstance(value, list):
        value = [fitted(each) for each in value]
    return value


if __name__ == "__main__":
    documents = [fitted(each) for each in yaml.safe_load_all(sys.stdin) if each is not None]
    yaml.safe_dump_all(documents, sys.stdout)
