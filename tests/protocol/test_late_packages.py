"""Late packages spare their importers time and lack nothing; each case has its own interpreter."""

import subprocess
import sys

import pytest

BEGIN = """
import sys
from ricochet_protocol import late_packages
late_packages.install()
late_packages.install()
"""


def interpreted(program: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", BEGIN + program],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.parametrize(
    ("used", "spared"),
    [
        (
            "ricochet_network.libp2p_transport",
            {"libp2p.host.basic_host", "libp2p.transport.manager"},
        ),
        (
            "ricochet_settlement.contract",
            {"py_ecc.bls.ciphersuites", "py_ecc.bls12_381.bls12_381_pairing"},
        ),
    ],
)
def test_what_nobody_uses_is_not_imported_and_the_recursion_limit_stays(
    used: str, spared: set[str]
) -> None:
    found = interpreted(
        f"import {used}; print(sorted({spared} & set(sys.modules)), sys.getrecursionlimit())"
    )
    assert found == "[] 1000"


def test_a_name_that_is_asked_for_is_there() -> None:
    program = """
import libp2p.peer.id
before = "libp2p.host.basic_host" in sys.modules
from libp2p import new_host
print(before, new_host.__module__, libp2p.new_host is new_host, type(libp2p).__name__)
try:
    libp2p.no_such_name
except AttributeError as error:
    print(error)
"""
    found, error = interpreted(program).splitlines()
    assert found == "False libp2p True module"
    assert error == "module 'libp2p' has no attribute 'no_such_name'"


def test_keyfiles_know_the_curve_they_may_need() -> None:
    program = """
import eth_keyfile.keyfile as keyfile
print("py_ecc.bls.ciphersuites" in sys.modules)
print(keyfile.bls.SkToPk(5).hex()[:8], keyfile.curve_order)
import py_ecc.bls, py_ecc.optimized_bls12_381 as curve
print(py_ecc.bls.G2ProofOfPossession.SkToPk(5).hex()[:8], curve.curve_order)
"""
    before, borrowed, own = interpreted(program).splitlines()
    assert before == "False"
    assert borrowed == own
