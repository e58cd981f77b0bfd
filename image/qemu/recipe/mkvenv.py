"""Stands in for QEMU's mkvenv.py, which makes a Python virtual environment and fills it with pip.

In the sandbox the locked packages are the environment: their interpreter and their meson serve, under
the names that QEMU's configure expects in its build directory.
"""
import os
import sys

PROGRAMS = {"python3": sys.executable, "meson": "/usr/bin/meson"}


def create(directory):
    """Links the programs and prints the interpreter's path, as configure expects."""
    programs = os.path.join(os.path.abspath(directory), "bin")
    os.makedirs(programs)
    for name, target in PROGRAMS.items():
        os.symlink(target, os.path.join(programs, name))
    print(os.path.join(programs, "python3"))


if sys.argv[1] == "create":
    create(sys.argv[2])
elif sys.argv[1] != "ensuregroup":
    sys.exit("mkvenv: got %r, want create or ensuregroup" % sys.argv[1])
