"""The solver that halmos calls: cvc5, reading 256-bit words as integers.

halmos asks its solvers about products and quotients of words, and the solvers it comes with decide
them bit by bit, which does not end. As integers, dividing by 10,000 is linear arithmetic, and each
proof takes a fraction of a second. Now and then cvc5 sets out in a wrong direction and does not
come back, so it gets little time and several starts.

halmos starts this with its own Python and the path of a query, an SMT-LIB file; the answers on
stdout are SMT-LIB too.
"""

import sys

import cvc5

STARTS = 8
MILLISECONDS = 4_000
"""For each start; ten times what a proof takes."""


def main() -> None:
    """Answer the query that the last argument names."""
    for start in range(STARTS):
        said = _answers(sys.argv[-1], start)
        if not said.startswith("unknown"):
            break
    print(said)


def _answers(query: str, start: int) -> str:
    """What the query's commands say, a line or more each."""
    solver = cvc5.Solver(cvc5.TermManager())
    solver.setOption("solve-bv-as-int", "sum")
    solver.setOption("produce-models", "true")
    solver.setOption("tlimit-per", str(MILLISECONDS))
    solver.setOption("seed", str(start))
    solver.setOption("sat-random-seed", str(start))
    parser = cvc5.InputParser(solver)
    parser.setFileInput(cvc5.InputLanguage.SMT_LIB_2_6, query)
    said = []
    while not (command := parser.nextCommand()).isNull():
        said.append(command.invoke(solver, parser.getSymbolManager()).strip())
    return "\n".join(line for line in said if line)


if __name__ == "__main__":
    main()
