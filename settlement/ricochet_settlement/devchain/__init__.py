"""A development chain: py-evm behind JSON-RPC on loopback, its state in one SQLite file.

It mines a block for every transaction, gives ether to accounts whose keys everybody knows, and lets
tests turn its clock. `http.serve` runs it; `database` keeps it; `chain` executes; `rpc` answers.
"""
