"""An example for every command, shown at the end of its `--help` and in docs/commands.md.

A line belongs to the command with the longest name that it begins with. Tests see to it that each
command has one and that each line is a call that its command takes.
"""

from collections.abc import Collection
from typing import Final

EXAMPLES: Final = """
ricochet init
ricochet init --as subscriber --network network.json --wallet new
ricochet doctor
ricochet doctor --offline --json
ricochet config list
ricochet config get routing.strategy
ricochet config set routing.max_price_in 0.50
ricochet config set privacy.redact "[email, phone]" --user
ricochet config unset routing.max_price_in
ricochet config path
ricochet completion bash
ricochet completion zsh
ricochet demo
ricochet demo --keep --document README.md
ricochet network join network.json
ricochet network status --watch
ricochet network id
ricochet wallet new
ricochet wallet import --file keystore.json
ricochet wallet remember
ricochet wallet forget
ricochet wallet transactions
ricochet wallet show --json
ricochet subscribe --plan 10
ricochet subscribe --plan 5 --auto-renew
ricochet subscription show
ricochet subscription spending --by model
ricochet subscription top-up 5
ricochet subscription renew
ricochet subscription auto-renew
ricochet subscription cancel
ricochet subscription close
ricochet subscription refund
ricochet subscription rotate-session
ricochet chain run report.pdf --chain overview
ricochet chain run docs notes.md --chain questions --set question="What does it cost?"
ricochet chain run report.pdf --max-cost 0.50 --detach
ricochet chain run report.pdf --dry-run
ricochet chain list
ricochet chain create --name mine --from overview
ricochet chain edit mine --set steps.summarize.max_tokens=200
ricochet chain show overview
ricochet chain validate mine
ricochet chain validate draft.yaml
ricochet chain delete mine
ricochet chain export mine --out mine.yaml
ricochet chain import mine.yaml
ricochet chain status
ricochet chain status RUN --json
ricochet chain runs --limit 5
ricochet chain watch
ricochet chain pause
ricochet chain resume
ricochet chain resume RUN --max-cost 1.00
ricochet chain retry
ricochet chain cancel
ricochet chain result --out result.html
ricochet chain checkpoints
ricochet chain diff RUN1 RUN2
ricochet chain encryption status
ricochet chain encryption on
ricochet chain encryption off
ricochet chain encryption remember
ricochet chain encryption forget
ricochet monitor --watch
ricochet stats chain --by role --since 7d
ricochet models setup
ricochet models setup --set main=NAME --no-input
ricochet models list --available
ricochet models show analyzer
ricochet models set analyzer=NAME critic=OTHER
ricochet models unset critic
ricochet models test main
ricochet models import .taskmaster/config.json
ricochet models export
ricochet tasks add "Write the parser" --priority high
ricochet tasks add "Test it" --needs 1 --role critic
ricochet tasks edit 2 --title "Test the parser"
ricochet tasks delete 2
ricochet tasks list --ready
ricochet tasks show 1
ricochet tasks next
ricochet tasks set-status 1 --to completed
ricochet tasks move 2 --to 1.1
ricochet tasks import .taskmaster/tasks/tasks.json
ricochet tasks export
ricochet tasks analyze-complexity --max-cost 0.20
ricochet tasks expand 1 --num 4
ricochet tasks parse requirements.md
ricochet tasks run --max-cost 0.50
ricochet tasks deps add 2 --on 1
ricochet tasks deps remove 2 --on 1
ricochet tasks deps validate
ricochet tasks deps fix
ricochet tasks tags list
ricochet tasks tags add next-week
ricochet tasks tags use next-week
ricochet tasks tags delete next-week
ricochet tasks tags rename next-week later
ricochet tasks tags copy master next-week
ricochet tasks push --to github --repo OWNER/NAME
ricochet tasks push 3 4 --to gitlab
ricochet tasks pull --from github --new
ricochet tasks propose 3 --to github --path docs/parser.md
ricochet forges add github
ricochet forges add gitlab --url https://git.example.org --stdin
ricochet forges list
ricochet forges remove github
ricochet forges remember
ricochet forges forget
ricochet add-task "Write the parser"
ricochet edit-task 1 --priority low
ricochet delete-task 1
ricochet analyze-complexity
ricochet route explain NAME --max-price-in 0.50
ricochet peers list --offline
ricochet peers show PEER
ricochet peers ping PEER --count 5
ricochet peers ban PEER
ricochet peers unban PEER
ricochet serve
ricochet serve --port 0 --json
ricochet serve keys new editor --budget 1 --per day
ricochet serve keys list
ricochet serve keys limit editor 2.50 --per day
ricochet serve keys revoke editor
ricochet mcp
ricochet mcp --tools core
ricochet mcp --http --port 0
ricochet mcp install --editor cursor
ricochet mcp install --editor zed --user --dry-run
ricochet mcp doctor
ricochet keys add ollama
ricochet keys add openai-compatible --name mine --url http://127.0.0.1:8000/v1
ricochet keys list
ricochet keys remove mine
ricochet keys rotate mine
ricochet keys show mine
ricochet keys test mine
ricochet keys disable mine
ricochet keys enable mine
ricochet keys export mine --out keys.export
ricochet keys import keys.export
ricochet keys passphrase
ricochet keys remember
ricochet keys forget
ricochet add-key ollama
ricochet node offer qwen2.5-0.5b --key ollama --price-in 0.40 --price-out 0.80 --context 4096
ricochet node add-source qwen2.5-0.5b --key mine --weight 2 --balance weighted
ricochet node start
ricochet node start --listen /ip4/0.0.0.0/tcp/4001
ricochet node status
ricochet node funds
ricochet node claim
ricochet node withdraw
ricochet node settle
ricochet node stats --by day
ricochet node doctor
ricochet node drain
ricochet node resume
ricochet node stop
ricochet node payout show
ricochet node payout queue 0x00000000000000000000000000000000000000aa
ricochet node payout cancel
ricochet node payout apply
ricochet node config show --show-origin
ricochet node config check
ricochet node config set claim.minimum 2.00
ricochet node config path
ricochet node token new editor
ricochet node token list
ricochet node token revoke editor
ricochet policy show openai
ricochet policy attest openai --document permission.pdf --expires 2027-12-31
ricochet policy revoke openai
ricochet logs show --since 24h
ricochet logs tail
ricochet logs export --format csv --out requests.csv
ricochet contracts deploy --rpc URL --token ADDRESS --treasury ADDRESS --out network.json
ricochet contracts status
ricochet contracts pause
ricochet contracts unpause
ricochet contracts transfer-treasury 0x00000000000000000000000000000000000000aa
ricochet contracts accept-treasury
ricochet dev chain --state chain.db
ricochet dev model --keys-file keys
ricochet dev faucet
ricochet dev stop /tmp/ricochet-demo-abc
"""


def examples_by_command(known: Collection[str]) -> dict[str, list[str]]:
    """The lines of each command that has some, such as `ricochet chain run`, of all `known`."""
    found: dict[str, list[str]] = {}
    for line in EXAMPLES.strip().splitlines():
        if owner := owner_of(line, known):
            found.setdefault(owner, []).append(line)
    return found


def owner_of(line: str, known: Collection[str]) -> str | None:
    """The command that a line calls."""
    words = line.split()
    for count in range(len(words), 0, -1):
        if (name := " ".join(words[:count])) in known:
            return name
    return None
