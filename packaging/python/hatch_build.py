"""Puts the program that HSMGATE_PROGRAM names into the wheel, and tags the wheel with the platform of the program."""

import os
import re
import subprocess
import sysconfig

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class ProgramHook(BuildHookInterface):
    """The wheel is for each Python 3 on the platform of the program."""

    def initialize(self, version, build_data):
        program = os.environ["HSMGATE_PROGRAM"]
        build_data["shared_scripts"][program] = "hsmgate"
        build_data["pure_python"] = False
        machine = sysconfig.get_platform().rpartition("-")[2]
        major, minor = glibc(program)
        build_data["tag"] = f"py3-none-manylinux_{major}_{minor}_{machine}"


def glibc(program):
    """The newest version of the C library of which the program uses a symbol."""
    symbols = subprocess.run(["objdump", "-T", program], check=True, capture_output=True, text=True).stdout
    return max((int(a), int(b)) for a, b in re.findall(r"GLIBC_(\d+)\.(\d+)", symbols))
