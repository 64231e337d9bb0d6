// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import {ECDSA} from "@openzeppelin/contracts/utils/cryptography/ECDSA.sol";
import {EIP712} from "@openzeppelin/contracts/utils/cryptography/EIP712.sol";
import {Math} from "@openzeppelin/contracts/utils/math/Math.sol";
import {IRicochet} from "./interfaces/IRicochet.sol";

/// @title Ricochet: user-centric metered vouchers backed by commitments
/// @dev Immutable and without an owner. The interface says what every function promises. Tokens move in
/// three places, `_collect`, `refund` and `withdraw`, always after the state that accounts for them.
contract Ricochet is IRicochet, EIP712 {
    using SafeERC20 for IERC20;

    uint256 public constant NODE_BPS = 7_000;
    uint64 public constant PERIOD = 30 days;
    uint64 public constant CLAIM_WINDOW = 7 days;

    uint256 private constant BPS = 10_000;
    // The registry is free to write to, so an entry is bounded by what a dialler can use: a peer id is
    // 46 to 59 characters in the usual encodings, and few nodes have more than eight ways in.
    uint256 private constant MAX_PEER_ID_BYTES = 64;
    uint256 private constant MAX_MULTIADDRS = 8;
    uint256 private constant MAX_MULTIADDR_BYTES = 256;

    bytes32 private constant RESERVATION_TYPEHASH =
        keccak256("Reservation(address subscriber,address node,uint32 period,uint128 total)");
    bytes32 private constant VOUCHER_TYPEHASH =
        keccak256("Voucher(address subscriber,address node,uint32 period,uint128 cumulative)");

    IERC20 public immutable token;
    address public immutable treasury;
    uint128 public immutable minFee;
    uint128 public immutable maxFee;

    uint256 public liabilities;
    mapping(address subscriber => uint32 period) public currentPeriod;
    mapping(address subscriber => uint256 amount) public refundable;
    mapping(address account => uint256 amount) public withdrawable;

    mapping(address subscriber => mapping(uint32 period => Period)) private _periods;
    mapping(address subscriber => mapping(uint32 period => address delegate)) private _delegates;
    mapping(address subscriber => mapping(uint32 period => mapping(address node => Account))) private _accounts;
    mapping(address operator => Node) private _nodes;

    constructor(IERC20 token_, address treasury_, uint128 minFee_, uint128 maxFee_) EIP712("Ricochet", "1") {
        if (treasury_ == address(0)) revert ZeroAddress();
        if (minFee_ > maxFee_) revert FeeBoundsReversed(minFee_, maxFee_);
        token = token_;
        treasury = treasury_;
        minFee = minFee_;
        maxFee = maxFee_;
    }

    // ---------------------------------------------------------------- subscriber

    function subscribe(uint128 fee, address delegate) external {
        if (fee < minFee || fee > maxFee) revert FeeOutOfRange(fee, minFee, maxFee);
        if (delegate == address(0)) revert ZeroAddress();
        uint64 start = uint64(block.timestamp);
        uint32 ordinal = currentPeriod[msg.sender];
        uint64 lastEnd = _periods[msg.sender][ordinal].end;
        if (start < lastEnd) revert AlreadySubscribed(ordinal, lastEnd, start);

        currentPeriod[msg.sender] = ++ordinal;
        _delegates[msg.sender][ordinal] = delegate;
        Period storage period = _periods[msg.sender][ordinal];
        period.fee = fee;
        period.budget = fee;
        period.start = start;
        period.end = start + PERIOD;
        emit Subscribed(msg.sender, ordinal, fee, fee, delegate, start, start + PERIOD);
        _collect(fee);
    }

    function topUp(uint128 amount) external {
        if (amount == 0) revert ZeroAmount();
        uint32 ordinal = currentPeriod[msg.sender];
        Period storage period = _periods[msg.sender][ordinal];
        if (block.timestamp >= period.end) {
            revert NotSubscribed(ordinal, period.end, uint64(block.timestamp));
        }

        period.budget += amount;
        emit ToppedUp(msg.sender, ordinal, amount);
        _collect(amount);
    }

    function refund() external {
        uint256 amount = refundable[msg.sender];
        if (amount == 0) revert NothingToRefund(msg.sender);

        refundable[msg.sender] = 0;
        liabilities -= amount;
        emit Refunded(msg.sender, amount);
        token.safeTransfer(msg.sender, amount);
    }

    // ---------------------------------------------------------------- anyone relays

    function reserve(Reservation[] calldata reservations, bytes[] calldata signatures) external {
        if (reservations.length != signatures.length) {
            revert LengthMismatch(reservations.length, signatures.length);
        }
        for (uint256 i; i < reservations.length; ++i) {
            _reserve(reservations[i], signatures[i]);
        }
    }

    function claim(Voucher[] calldata vouchers, bytes[] calldata signatures) external {
        if (vouchers.length != signatures.length) revert LengthMismatch(vouchers.length, signatures.length);
        for (uint256 i; i < vouchers.length; ++i) {
            _claim(vouchers[i], signatures[i]);
        }
    }

    function close(address subscriber, uint32 period) external {
        Period storage closing = _periods[subscriber][period];
        if (closing.end == 0) revert PeriodUnknown(period, currentPeriod[subscriber]);
        if (closing.closed) revert AlreadyClosed(subscriber, period);
        uint64 windowEnd = closing.end + CLAIM_WINDOW;
        if (block.timestamp < windowEnd) revert WindowOpen(windowEnd, uint64(block.timestamp));

        uint128 unspent = closing.budget - closing.paid;
        closing.closed = true;
        refundable[subscriber] += unspent;
        emit Closed(subscriber, period, unspent);
    }

    // ---------------------------------------------------------------- node

    function registerNode(string calldata peerId, string[] calldata multiaddrs, address payout) external {
        uint256 length = bytes(peerId).length;
        if (length == 0 || length > MAX_PEER_ID_BYTES) revert PeerIdLength(length, MAX_PEER_ID_BYTES);
        if (multiaddrs.length > MAX_MULTIADDRS) revert TooManyMultiaddrs(multiaddrs.length, MAX_MULTIADDRS);
        if (payout == address(0)) revert ZeroAddress();
        Node storage node = _nodes[msg.sender];
        if (node.payout != address(0) && node.payout != payout) revert PayoutFixed(node.payout, payout);

        node.peerId = peerId;
        node.payout = payout;
        delete node.multiaddrs;
        for (uint256 i; i < multiaddrs.length; ++i) {
            length = bytes(multiaddrs[i]).length;
            if (length > MAX_MULTIADDR_BYTES) revert MultiaddrTooLong(i, length, MAX_MULTIADDR_BYTES);
            node.multiaddrs.push(multiaddrs[i]);
        }
        emit NodeRegistered(msg.sender, peerId, multiaddrs, payout);
    }

    function withdraw(address account) external {
        uint256 amount = withdrawable[account];
        if (amount == 0) revert NothingToWithdraw(account);

        // Only registered nodes and the treasury ever earn, so the payout is never zero here.
        address to = account == treasury ? treasury : _nodes[account].payout;
        withdrawable[account] = 0;
        liabilities -= amount;
        emit Withdrawn(account, to, amount);
        token.safeTransfer(to, amount);
    }

    // ---------------------------------------------------------------- views

    function periodOf(address subscriber, uint32 period) external view returns (Period memory) {
        return _periods[subscriber][period];
    }

    function accountOf(address subscriber, uint32 period, address node) external view returns (Account memory) {
        return _accounts[subscriber][period][node];
    }

    function nodeOf(address operator) external view returns (Node memory) {
        return _nodes[operator];
    }

    function delegateOf(address subscriber) public view returns (address) {
        return _delegates[subscriber][currentPeriod[subscriber]];
    }

    function hashReservation(Reservation calldata r) public view returns (bytes32) {
        return _hashTypedDataV4(
            keccak256(abi.encode(RESERVATION_TYPEHASH, r.subscriber, r.node, r.period, r.total))
        );
    }

    function hashVoucher(Voucher calldata v) public view returns (bytes32) {
        return _hashTypedDataV4(
            keccak256(abi.encode(VOUCHER_TYPEHASH, v.subscriber, v.node, v.period, v.cumulative))
        );
    }

    // ---------------------------------------------------------------- internal

    /// Takes `amount` from the caller: his refundable balance first, the rest by transfer.
    function _collect(uint128 amount) private {
        uint256 spare = refundable[msg.sender];
        uint256 used = Math.min(spare, amount);
        uint256 due = amount - used;
        refundable[msg.sender] = spare - used;
        if (due == 0) return;

        liabilities += due;
        uint256 held = token.balanceOf(address(this));
        token.safeTransferFrom(msg.sender, address(this), due);
        // Strictly equal, so that a token which calls back cannot pass off another deposit as this one.
        uint256 received = token.balanceOf(address(this)) - held;
        if (received != due) revert InexactTransfer(received, due);
    }

    function _reserve(Reservation calldata r, bytes calldata signature) private {
        Period storage period = _periods[r.subscriber][r.period];
        uint128 committed = _accounts[r.subscriber][r.period][r.node].committed;
        if (period.end == 0) return _skip(r, Skip.NoPeriod);
        if (block.timestamp >= period.end) return _skip(r, Skip.PeriodEnded);
        if (r.total <= committed) return _skip(r, Skip.NotRaised);
        if (!_signed(r.subscriber, r.period, hashReservation(r), signature)) return _skip(r, Skip.BadSignature);
        if (r.total - committed > period.budget - period.committed) return _skip(r, Skip.BudgetExceeded);

        _commit(r.subscriber, r.node, r.period, r.total);
    }

    function _claim(Voucher calldata v, bytes calldata signature) private {
        Period storage period = _periods[v.subscriber][v.period];
        Account storage account = _accounts[v.subscriber][v.period][v.node];
        if (period.end == 0) return _skip(v, Skip.NoPeriod);
        if (block.timestamp >= period.end + CLAIM_WINDOW) return _skip(v, Skip.WindowEnded);
        if (_nodes[v.node].payout == address(0)) return _skip(v, Skip.NodeUnknown);
        if (v.cumulative <= account.claimed) return _skip(v, Skip.NotRaised);
        if (!_signed(v.subscriber, v.period, hashVoucher(v), signature)) return _skip(v, Skip.BadSignature);

        uint256 reachable = uint256(account.committed) + period.budget - period.committed;
        uint128 cumulative = uint128(Math.min(v.cumulative, reachable));
        if (cumulative == account.claimed) return _skip(v, Skip.NothingPayable);

        if (cumulative > account.committed) _commit(v.subscriber, v.node, v.period, cumulative);
        _pay(v.subscriber, v.node, v.period, cumulative);
    }

    /// The one place where commitments change. The caller has checked that the free budget covers it.
    function _commit(address subscriber, address node, uint32 period, uint128 total) private {
        Account storage account = _accounts[subscriber][period][node];
        _periods[subscriber][period].committed += total - account.committed;
        account.committed = total;
        emit Reserved(subscriber, node, period, total);
    }

    /// Pays the node up to `cumulative`, which its commitment covers.
    function _pay(address subscriber, address node, uint32 period, uint128 cumulative) private {
        Account storage account = _accounts[subscriber][period][node];
        uint128 previous = account.claimed;
        uint128 paid = cumulative - previous;
        // Differences of floors add up, whatever the steps: see `claim` in the interface.
        uint128 nodeShare = _shareOf(cumulative) - _shareOf(previous);
        account.claimed = cumulative;
        _periods[subscriber][period].paid += paid;
        withdrawable[node] += nodeShare;
        withdrawable[treasury] += paid - nodeShare;
        emit Claimed(subscriber, node, period, cumulative, nodeShare, paid - nodeShare);
    }

    function _shareOf(uint128 cumulative) private pure returns (uint128) {
        return uint128((uint256(cumulative) * NODE_BPS) / BPS);
    }

    /// Whether `signature` over `digest` is the subscriber's or a delegate's: see `delegateOf`.
    /// Plain ECDSA that cannot revert: one contract wallet must not be able to stop a batch.
    function _signed(address subscriber, uint32 period, bytes32 digest, bytes calldata signature)
        private
        view
        returns (bool)
    {
        (address signer, ECDSA.RecoverError fault,) = ECDSA.tryRecoverCalldata(digest, signature);
        if (fault != ECDSA.RecoverError.NoError) return false;
        return signer == subscriber || signer == _delegates[subscriber][period] || signer == delegateOf(subscriber);
    }

    function _skip(Reservation calldata r, Skip reason) private {
        emit ReservationSkipped(r.subscriber, r.node, r.period, reason);
    }

    function _skip(Voucher calldata v, Skip reason) private {
        emit VoucherSkipped(v.subscriber, v.node, v.period, reason);
    }
}
