"""JSON-RPC methods of the dev chain: what clients of contracts need, and what tests do to a chain.

A method's name is its attribute in `_METHODS`; whatever is not there does not exist. Every failure
becomes a JSON-RPC error with the code that geth uses, since clients match those.
"""

import inspect
import logging
from collections.abc import Callable
from typing import Any, Final

import msgspec
from eth.abc import BlockAPI, BlockHeaderAPI
from eth.exceptions import HeaderNotFound, TransactionNotFound
from eth_bloom.bloom import BloomFilter
from eth_typing import Address as RawAddress
from eth_typing import BlockNumber, Hash32

from ricochet_settlement.devchain import params, views
from ricochet_settlement.devchain.accounts import DEV_CHAIN_ID
from ricochet_settlement.devchain.chain import GAS_LIMIT, DevChain, Refused, Reverted
from ricochet_settlement.devchain.filters import Filter, Filters
from ricochet_settlement.devchain.params import BadParams
from ricochet_settlement.devchain.views import Json

PARSE_ERROR: Final = -32700
INVALID_REQUEST: Final = -32600
NO_METHOD: Final = -32601
BAD_PARAMS: Final = -32602
INTERNAL: Final = -32603
REFUSED: Final = -32000
REVERTED: Final = 3
"""Codes of JSON-RPC 2.0, then geth's two."""

MAX_BRACKETS: Final = 64
"""Far more than a filter needs. py-evm raises the interpreter's recursion limit so high that the
parser would overrun the stack on deeper nesting before it notices."""

MAX_HISTORY: Final = 1024
"""Blocks in one fee history, as geth allows."""

_log = logging.getLogger(__name__)


class _Request(msgspec.Struct, frozen=True):
    method: str
    id: int | str | None = None
    params: list[Any] = msgspec.field(default_factory=list)


class Rpc:
    """Answers requests about one chain, one at a time."""

    def __init__(self, chain: DevChain) -> None:
        self._chain = chain
        self._filters = Filters(lambda: chain.head().block_number)

    def answer_untrusted(self, body: bytes) -> bytes:
        """The response to one request; never raises."""
        if body.count(b"[") + body.count(b"{") > MAX_BRACKETS:
            return _failure(None, INVALID_REQUEST, "a request with too many lists or objects")
        try:
            request = msgspec.json.decode(body, type=_Request)
        except msgspec.ValidationError as error:
            return _failure(None, INVALID_REQUEST, f"not a JSON-RPC request: {error}")
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return _failure(None, PARSE_ERROR, "not JSON")
        try:
            result = self._call(request)
        except BadParams as error:
            return _failure(request.id, BAD_PARAMS, str(error))
        except Refused as error:
            return _failure(request.id, REFUSED, str(error))
        except Reverted as error:
            return _failure(request.id, REVERTED, str(error), views.data(error.data))
        except _NoMethod:
            return _failure(request.id, NO_METHOD, f"no method {request.method[:80]!r}")
        except Exception:  # the server must outlive any one request; the log says where it failed
            _log.exception("a dev chain request failed: %s", request.method)
            return _failure(request.id, INTERNAL, "internal error, see the dev chain's log")
        return msgspec.json.encode({"jsonrpc": "2.0", "id": request.id, "result": result})

    def _call(self, request: _Request) -> Any:
        method = _METHODS.get(request.method)
        if method is None:
            raise _NoMethod
        try:
            inspect.signature(method).bind(self, *request.params)
        except TypeError as error:
            raise BadParams(f"{request.method}: {error}") from None
        return method(self, *request.params)

    # The network.

    def client_version(self) -> str:
        return "ricochet-devchain/1"

    def network_version(self) -> str:
        return str(DEV_CHAIN_ID)

    def chain_id(self) -> str:
        return views.quantity(DEV_CHAIN_ID)

    def accounts(self) -> list[str]:
        """None: the server signs nothing."""
        return []

    # State.

    def block_number(self) -> str:
        return views.quantity(self._chain.head().block_number)

    def balance(self, account: object, tag: object = None) -> str:
        state = self._chain.state(self._header(tag))
        return views.quantity(state.get_balance(_account(account)))

    def transaction_count(self, account: object, tag: object = None) -> str:
        state = self._chain.state(self._header(tag))
        return views.quantity(state.get_nonce(_account(account)))

    def code(self, account: object, tag: object = None) -> str:
        return views.data(self._chain.state(self._header(tag)).get_code(_account(account)))

    def call(self, fields: object, tag: object = None) -> str:
        parsed = params.call_fields(fields, GAS_LIMIT)
        return views.data(self._chain.call(parsed, self._header(tag)))

    def estimate_gas(self, fields: object, tag: object = "pending") -> str:
        parsed = params.call_fields(fields, GAS_LIMIT)
        return views.quantity(self._chain.estimate(parsed, self._header(tag)))

    def gas_price(self) -> str:
        return views.quantity(self._chain.pending().base_fee_per_gas or 0)

    def priority_fee(self) -> str:
        return "0x0"

    def fee_history(self, count: object, newest: object, percentiles: object = None) -> Json:
        blocks, shares = params.quantity(count), params.percentiles(percentiles)
        last = self._header(newest).block_number
        first = max(0, last + 1 - min(blocks, MAX_HISTORY))
        headers = [self._header(hex(number)) for number in range(first, last + 1)]
        following = self._chain.base_fee_after(headers[-1]) if headers else 0
        evm = self._chain.evm
        history = views.fee_history_view(first, headers, following)
        if shares:
            history["reward"] = [
                [views.quantity(views.tip(evm.get_block_by_header(header)))] * len(shares)
                for header in headers
            ]
        return history

    # Blocks, transactions, logs.

    def block_by_number(self, tag: object, full: object) -> Json | None:
        return self._block_view(lambda: self._header(tag), params.boolean(full))

    def block_by_hash(self, block_hash: object, full: object) -> Json | None:
        wanted = Hash32(params.data(block_hash, 32))
        return self._block_view(lambda: self._named(wanted), params.boolean(full))

    def transaction_by_hash(self, transaction_hash: object) -> Json | None:
        found = self._find(transaction_hash)
        return None if found is None else views.transaction_view(*found)

    def transaction_receipt(self, transaction_hash: object) -> Json | None:
        found = self._find(transaction_hash)
        if found is None:
            return None
        block, index = found
        return views.receipt_view(block, self._receipts(block), index)

    def logs(self, criteria: object) -> list[Json]:
        if not isinstance(criteria, dict):
            raise BadParams("not a filter object")
        addresses = params.one_or_many(criteria.get("address"), 20)
        topics = criteria.get("topics") or []
        if not isinstance(topics, list) or len(topics) > 4:
            raise BadParams("topics are a list of at most four")
        wanted = [params.one_or_many(topic, 32) for topic in topics]
        found: list[Json] = []
        for header in self._range(criteria):
            if not _may_hold(header, addresses, wanted):
                continue
            block = self._chain.evm.get_block_by_header(header)
            for _, log, view in views.log_views(block, self._receipts(block)):
                own = [topic.to_bytes(32, "big") for topic in log.topics]
                if _matches(bytes(log.address), own, addresses, wanted):
                    found.append(view)
        return found

    def new_filter(self, criteria: object) -> str:
        if not isinstance(criteria, dict) or "blockHash" in criteria:
            raise BadParams("not a filter of a range of blocks")
        self.logs({**criteria, "fromBlock": "latest"})  # refuses what no filter can be
        return views.quantity(self._filters.add(criteria))

    def new_block_filter(self) -> str:
        return views.quantity(self._filters.add(None))

    def filter_changes(self, number: object) -> list[Any]:
        found = self._filter(number)
        blocks = self._filters.news(found)
        if found.criteria is None:
            return [views.data(self._header(hex(block)).hash) for block in blocks]
        if not blocks:
            return []
        asked = _criteria_within(found.criteria, blocks)
        return [] if asked is None else self.logs(asked)

    def filter_logs(self, number: object) -> list[Json]:
        found = self._filter(number)
        if found.criteria is None:
            raise Refused("filter not found")
        return self.logs(found.criteria)

    def uninstall_filter(self, number: object) -> bool:
        return self._filters.remove(params.quantity(number))

    def send_raw_transaction(self, raw: object) -> str:
        return views.data(self._chain.send(params.data(raw)))

    # Development.

    def increase_time(self, seconds: object) -> str:
        return views.quantity(self._chain.advance(params.seconds(seconds)))

    def mine(self) -> str:
        self._chain.mine()
        return "0x0"

    def snapshot(self) -> str:
        return views.quantity(self._chain.snapshot())

    def revert(self, number: object) -> bool:
        return self._chain.revert(params.quantity(number))

    def _filter(self, number: object) -> Filter:
        found = self._filters.find(params.quantity(number))
        if found is None:
            raise Refused("filter not found")
        return found

    def _header(self, tag: object) -> BlockHeaderAPI:
        wanted = params.block_tag(tag)
        if wanted == "pending":
            return self._chain.pending()
        if wanted == "earliest":
            wanted = 0
        if isinstance(wanted, str):
            return self._chain.head()
        try:
            return self._chain.evm.get_canonical_block_header_by_number(BlockNumber(wanted))
        except HeaderNotFound:
            raise _NoBlock(f"no block {wanted}") from None

    def _named(self, block_hash: Hash32) -> BlockHeaderAPI:
        """The block's header; HeaderNotFound also for one that was dropped."""
        evm = self._chain.evm
        header = evm.get_block_header_by_hash(block_hash)
        if evm.get_canonical_block_hash(header.block_number) != block_hash:
            raise HeaderNotFound
        return header

    def _block_view(self, header: Callable[[], BlockHeaderAPI], full: bool) -> Json | None:
        try:
            return views.block_view(self._chain.evm.get_block_by_header(header()), full)
        except (HeaderNotFound, _NoBlock):
            return None

    def _range(self, criteria: dict[str, object]) -> list[BlockHeaderAPI]:
        evm = self._chain.evm
        if "blockHash" in criteria:
            wanted = Hash32(params.data(criteria["blockHash"], 32))
            try:
                return [self._named(wanted)]
            except HeaderNotFound:
                raise Refused("unknown block") from None
        head = self._chain.head().block_number
        first = self._header(criteria.get("fromBlock")).block_number
        # A range may end beyond the head, as it does on other chains.
        end = params.block_tag(criteria.get("toBlock"))
        last = min(end, head) if isinstance(end, int) else self._header(end).block_number
        numbers = range(first, min(last, head) + 1)
        return [evm.get_canonical_block_header_by_number(BlockNumber(n)) for n in numbers]

    def _find(self, transaction_hash: object) -> tuple[BlockAPI, int] | None:
        wanted = Hash32(params.data(transaction_hash, 32))
        evm = self._chain.evm
        try:
            number, index = evm.get_canonical_transaction_index(wanted)
        except TransactionNotFound:
            return None
        return evm.get_canonical_block_by_number(number), index

    def _receipts(self, block: BlockAPI) -> Any:
        return block.get_receipts(self._chain.evm.chaindb)


class _NoMethod(Exception):
    """There is no such method."""


class _NoBlock(BadParams):
    """The number is beyond the head."""


_METHODS: Final[dict[str, Callable[..., Any]]] = {
    "web3_clientVersion": Rpc.client_version,
    "net_version": Rpc.network_version,
    "eth_chainId": Rpc.chain_id,
    "eth_accounts": Rpc.accounts,
    "eth_blockNumber": Rpc.block_number,
    "eth_getBalance": Rpc.balance,
    "eth_getTransactionCount": Rpc.transaction_count,
    "eth_getCode": Rpc.code,
    "eth_call": Rpc.call,
    "eth_estimateGas": Rpc.estimate_gas,
    "eth_gasPrice": Rpc.gas_price,
    "eth_maxPriorityFeePerGas": Rpc.priority_fee,
    "eth_getBlockByNumber": Rpc.block_by_number,
    "eth_getBlockByHash": Rpc.block_by_hash,
    "eth_getTransactionByHash": Rpc.transaction_by_hash,
    "eth_getTransactionReceipt": Rpc.transaction_receipt,
    "eth_getLogs": Rpc.logs,
    "eth_feeHistory": Rpc.fee_history,
    "eth_newFilter": Rpc.new_filter,
    "eth_newBlockFilter": Rpc.new_block_filter,
    "eth_getFilterChanges": Rpc.filter_changes,
    "eth_getFilterLogs": Rpc.filter_logs,
    "eth_uninstallFilter": Rpc.uninstall_filter,
    "eth_sendRawTransaction": Rpc.send_raw_transaction,
    "evm_increaseTime": Rpc.increase_time,
    "evm_mine": Rpc.mine,
    "evm_snapshot": Rpc.snapshot,
    "evm_revert": Rpc.revert,
}


def _account(value: object) -> RawAddress:
    return RawAddress(params.data(value, 20))


def _criteria_within(criteria: dict[str, Any], blocks: range) -> dict[str, Any] | None:
    """The criteria for these blocks only; None when they ask for none of them."""
    first, last = (params.block_tag(criteria.get(end)) for end in ("fromBlock", "toBlock"))
    start = max(blocks[0], first) if isinstance(first, int) else blocks[0]
    end = min(blocks[-1], last) if isinstance(last, int) else blocks[-1]
    if start > end:
        return None
    return {**criteria, "fromBlock": hex(start), "toBlock": hex(end)}


def _may_hold(
    header: BlockHeaderAPI,
    addresses: frozenset[bytes] | None,
    topics: list[frozenset[bytes] | None],
) -> bool:
    """Whether the block's bloom filter admits a match; spares reading most blocks."""
    if not header.bloom:
        return False
    bloom = BloomFilter(header.bloom)
    wanted = [group for group in (addresses, *topics) if group is not None]
    return all(any(item in bloom for item in group) for group in wanted)


def _matches(
    address: bytes,
    own: list[bytes],
    addresses: frozenset[bytes] | None,
    topics: list[frozenset[bytes] | None],
) -> bool:
    if addresses is not None and address not in addresses:
        return False
    if len(own) < len(topics):
        return False
    return all(group is None or topic in group for topic, group in zip(own, topics, strict=False))


def _failure(request: int | str | None, code: int, message: str, data: str = "") -> bytes:
    error: dict[str, object] = {"code": code, "message": message}
    if code == REVERTED:
        error["data"] = data
    return msgspec.json.encode({"jsonrpc": "2.0", "id": request, "error": error})
