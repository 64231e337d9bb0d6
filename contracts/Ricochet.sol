// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {Ownable, Ownable2Step} from "@openzeppelin/contracts/access/Ownable2Step.sol";
import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {IERC20Permit} from "@openzeppelin/contracts/token/ERC20/extensions/IERC20Permit.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import {Pausable} from "@openzeppelin/contracts/utils/Pausable.sol";
import {ECDSA} from "@openzeppelin/contracts/utils/cryptography/ECDSA.sol";
import {EIP712} from "@openzeppelin/contracts/utils/cryptography/EIP712.sol";
import {Math} from "@openzeppelin/contracts/utils/math/Math.sol";
import {SafeCast} from "@openzeppelin/contracts/utils/math/SafeCast.sol";
import {IRicochet} from "./interfaces/IRicochet.sol";

/// @title Ricochet: user-centric metered vouchers backed by commitments
/// @dev Not upgradeable. The interface says what every function promises. Tokens move in three places,
/// `_collect`, `refund` and `withdraw`, always after the state that accounts for them.
contract Ricochet is IRicochet, EIP712, Ownable2Step, Pausable {
    using SafeERC20 for IERC20;

    uint256 public constant NODE_BPS = 7_000;
    uint64 public constant PERIOD = 30 days;
    uint64 public constant CLAIM_WINDOW = 7 days;
    uint64 public constant RENEWAL_LEAD = 3 days;
    uint64 public constant DELEGATE_GRACE = 24 hours;
    uint64 public constant PAYOUT_DELAY = 48 hours;

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

    /// A `Period` in two slots, which were both written when it was opened: `reserve` needs the first
    /// alone. 96 bits count more units than any stablecoin has.
    struct Packed {
        uint96 budget;
        uint96 committed;
        uint64 end;
        uint96 paid;
        uint96 fee;
        bool closed;
        mapping(address node => Account) accounts;
    }

    /// `newest` counts a period that was renewed ahead of its start.
    struct Subscriber {
        address delegate;
        uint32 newest;
        bool autoRenew;
        mapping(address delegate => Delegation) replaced;
        mapping(uint32 ordinal => Packed) periods;
    }

    IERC20 public immutable token;
    uint128 public immutable minFee;
    uint128 public immutable maxFee;

    uint256 public liabilities;
    mapping(address subscriber => uint256 amount) public refundable;
    mapping(address account => uint256 amount) public withdrawable;

    mapping(address subscriber => Subscriber) private _subscribers;
    mapping(address operator => Node) private _nodes;

    constructor(IERC20 token_, address treasury_, uint128 minFee_, uint128 maxFee_)
        EIP712("Ricochet", "1")
        Ownable(treasury_)
    {
        if (minFee_ > maxFee_) revert FeeBoundsReversed(minFee_, maxFee_);
        token = token_;
        minFee = minFee_;
        maxFee = maxFee_;
    }

    // ---------------------------------------------------------------- subscriber

    function subscribe(uint128 fee, address delegate, bool autoRenew) public whenNotPaused {
        if (fee < minFee || fee > maxFee) revert FeeOutOfRange(fee, minFee, maxFee);
        Subscriber storage subscriber = _subscribers[msg.sender];
        uint64 lastEnd = subscriber.periods[subscriber.newest].end;
        if (_now() < lastEnd) revert AlreadySubscribed(subscriber.newest, lastEnd, _now());

        setDelegate(delegate);
        setAutoRenew(autoRenew);
        _open(msg.sender, fee, _now());
    }

    function subscribeWithPermit(
        uint128 fee, address delegate, bool autoRenew, uint256 deadline, uint8 v, bytes32 r, bytes32 s
    ) external {
        // Anyone who saw the permit may have used it first, so only the allowance itself decides.
        try IERC20Permit(address(token)).permit(msg.sender, address(this), fee, deadline, v, r, s) {} catch {}
        subscribe(fee, delegate, autoRenew);
    }

    function renew(address subscriber) external whenNotPaused {
        if (!_subscribers[subscriber].autoRenew) revert AutoRenewOff(subscriber);
        Packed storage last = _subscribers[subscriber].periods[_subscribers[subscriber].newest];
        uint64 end = last.end;
        if (_now() + RENEWAL_LEAD < end || _now() >= end) revert OutsideRenewal(end, _now());

        _open(subscriber, last.fee, end);
    }

    function topUp(uint128 amount) external whenNotPaused {
        if (amount == 0) revert ZeroAmount();
        uint32 ordinal = currentPeriod(msg.sender);
        Packed storage period = _subscribers[msg.sender].periods[ordinal];
        if (_now() >= period.end) revert NotSubscribed(ordinal, period.end, _now());

        period.budget = SafeCast.toUint96(uint256(period.budget) + amount);
        emit ToppedUp(msg.sender, ordinal, amount);
        _collect(msg.sender, amount);
    }

    function setDelegate(address delegate) public {
        if (delegate == address(0)) revert ZeroAddress();
        Subscriber storage subscriber = _subscribers[msg.sender];
        address replaced = subscriber.delegate;
        if (delegate == replaced) return;

        if (replaced != address(0)) {
            subscriber.replaced[replaced] = Delegation(currentPeriod(msg.sender), _now() + DELEGATE_GRACE);
        }
        subscriber.delegate = delegate;
        emit DelegateChanged(msg.sender, replaced, delegate);
    }

    function setAutoRenew(bool autoRenew) public {
        if (_subscribers[msg.sender].autoRenew == autoRenew) return;
        _subscribers[msg.sender].autoRenew = autoRenew;
        emit AutoRenewChanged(msg.sender, autoRenew);
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
        if (reservations.length != signatures.length) revert LengthMismatch(reservations.length, signatures.length);
        for (uint256 i; i < reservations.length; ++i) _reserve(reservations[i], signatures[i]);
    }

    function claim(Voucher[] calldata vouchers, bytes[] calldata signatures) external {
        if (vouchers.length != signatures.length) revert LengthMismatch(vouchers.length, signatures.length);
        for (uint256 i; i < vouchers.length; ++i) _claim(vouchers[i], signatures[i]);
    }

    function close(address subscriber, uint32 period) external {
        Packed storage closing = _subscribers[subscriber].periods[period];
        if (closing.end == 0) revert PeriodUnknown(period, _subscribers[subscriber].newest);
        if (closing.closed) revert AlreadyClosed(subscriber, period);
        uint64 windowEnd = closing.end + CLAIM_WINDOW;
        if (_now() < windowEnd) revert WindowOpen(windowEnd, _now());

        uint128 unspent = closing.budget - closing.paid;
        closing.closed = true;
        refundable[subscriber] += unspent;
        emit Closed(subscriber, period, unspent);
    }

    // ---------------------------------------------------------------- node

    function registerNode(string calldata peerId, string[] calldata multiaddrs, address payout) external {
        if (payout == address(0)) revert ZeroAddress();
        Node storage node = _nodes[msg.sender];
        if (node.payout != address(0)) revert AlreadyRegistered(msg.sender, node.payout);

        node.payout = payout;
        updateNode(peerId, multiaddrs);
    }

    function updateNode(string calldata peerId, string[] calldata multiaddrs) public {
        uint256 length = bytes(peerId).length;
        if (length == 0 || length > MAX_PEER_ID_BYTES) revert PeerIdLength(length, MAX_PEER_ID_BYTES);
        if (multiaddrs.length > MAX_MULTIADDRS) revert TooManyMultiaddrs(multiaddrs.length, MAX_MULTIADDRS);
        Node storage node = _registered(msg.sender);

        node.peerId = peerId;
        delete node.multiaddrs;
        for (uint256 i; i < multiaddrs.length; ++i) {
            length = bytes(multiaddrs[i]).length;
            if (length > MAX_MULTIADDR_BYTES) revert MultiaddrTooLong(i, length, MAX_MULTIADDR_BYTES);
            node.multiaddrs.push(multiaddrs[i]);
        }
        emit NodeRegistered(msg.sender, peerId, multiaddrs, node.payout);
    }

    function queuePayout(address payout) external {
        if (payout == address(0)) revert ZeroAddress();
        Node storage node = _registered(msg.sender);

        node.queuedPayout = payout;
        node.payoutDue = _now() + PAYOUT_DELAY;
        emit PayoutQueued(msg.sender, payout, node.payoutDue);
    }

    function cancelPayout(address operator) external {
        Node storage node = _nodes[operator];
        if (msg.sender != operator && msg.sender != node.payout) revert NoVeto(msg.sender, operator);

        emit PayoutCancelled(operator, _takeQueued(operator));
    }

    function applyPayout(address operator) external {
        Node storage node = _nodes[operator];
        if (_now() < node.payoutDue) revert PayoutNotDue(node.payoutDue, _now());

        node.payout = _takeQueued(operator);
        emit NodeRegistered(operator, node.peerId, node.multiaddrs, node.payout);
    }

    function withdraw(address account) external {
        uint256 amount = withdrawable[account];
        if (amount == 0) revert NothingToWithdraw(account);

        // Of those who earn, only a treasury can be without an entry in the registry.
        address payout = _nodes[account].payout;
        address to = payout == address(0) ? account : payout;
        withdrawable[account] = 0;
        liabilities -= amount;
        emit Withdrawn(account, to, amount);
        token.safeTransfer(to, amount);
    }

    // ---------------------------------------------------------------- owner

    function pause() external onlyOwner {
        _pause();
    }

    function unpause() external onlyOwner {
        _unpause();
    }

    function renounceOwnership() public pure override {
        revert TreasuryNeeded();
    }

    // ---------------------------------------------------------------- views

    function treasury() public view returns (address) {
        return owner();
    }

    function currentPeriod(address subscriber) public view returns (uint32 ordinal) {
        ordinal = _subscribers[subscriber].newest;
        if (_now() + PERIOD < _subscribers[subscriber].periods[ordinal].end) --ordinal;
    }

    function delegateOf(address subscriber) external view returns (address) {
        return _subscribers[subscriber].delegate;
    }

    function delegationOf(address subscriber, address delegate) external view returns (Delegation memory) {
        if (delegate == _subscribers[subscriber].delegate && delegate != address(0)) {
            return Delegation(type(uint32).max, type(uint64).max);
        }
        return _subscribers[subscriber].replaced[delegate];
    }

    function autoRenewOf(address subscriber) external view returns (bool) {
        return _subscribers[subscriber].autoRenew;
    }

    function periodOf(address subscriber, uint32 period) external view returns (Period memory) {
        Packed storage p = _subscribers[subscriber].periods[period];
        uint64 start = p.end == 0 ? 0 : p.end - PERIOD;
        return Period(p.budget, p.committed, p.paid, p.fee, start, p.end, p.closed);
    }

    function accountOf(address subscriber, uint32 period, address node) external view returns (Account memory) {
        return _subscribers[subscriber].periods[period].accounts[node];
    }

    function nodeOf(address operator) external view returns (Node memory) {
        return _nodes[operator];
    }

    function hashReservation(Reservation calldata r) public view returns (bytes32) {
        return _hashTypedDataV4(keccak256(abi.encode(RESERVATION_TYPEHASH, r)));
    }

    function hashVoucher(Voucher calldata v) public view returns (bytes32) {
        return _hashTypedDataV4(keccak256(abi.encode(VOUCHER_TYPEHASH, v)));
    }

    // ---------------------------------------------------------------- internal

    /// Opens the subscriber's next period and takes its fee.
    function _open(address account, uint128 fee, uint64 start) private {
        Subscriber storage subscriber = _subscribers[account];
        uint32 ordinal = ++subscriber.newest;
        Packed storage period = subscriber.periods[ordinal];
        (period.budget, period.end) = (SafeCast.toUint96(fee), start + PERIOD);
        period.fee = period.budget;
        emit Subscribed(account, ordinal, fee, subscriber.delegate, start, start + PERIOD);
        _collect(account, fee);
    }

    /// Takes `amount` from the subscriber: his refundable balance first, the rest by transfer.
    function _collect(address subscriber, uint128 amount) private {
        uint256 used = Math.min(refundable[subscriber], amount);
        uint256 due = amount - used;
        refundable[subscriber] -= used;
        if (due == 0) return;

        liabilities += due;
        uint256 held = token.balanceOf(address(this));
        token.safeTransferFrom(subscriber, address(this), due);
        // Strictly equal, so that a token which calls back cannot pass off another deposit as this one.
        uint256 received = token.balanceOf(address(this)) - held;
        if (received != due) revert InexactTransfer(received, due);
    }

    /// Raises the node's commitment to the total, if the free budget covers that: so the raise fits.
    function _reserve(Reservation calldata r, bytes calldata signature) private {
        Subscriber storage subscriber = _subscribers[r.subscriber];
        Packed storage period = subscriber.periods[r.period];
        Account storage account = period.accounts[r.node];
        (uint64 end, uint96 free) = (period.end, period.budget - period.committed);
        uint128 committed = account.committed;
        if (block.timestamp + PERIOD < end || end == 0) return _skip(r, Skip.NoPeriod);
        if (block.timestamp >= end) return _skip(r, Skip.PeriodEnded);
        if (r.total <= committed) return _skip(r, Skip.NotRaised);
        (, bool raises) = _authority(subscriber, r.subscriber, r.period, hashReservation(r), signature);
        if (!raises) return _skip(r, Skip.BadSignature);
        if (r.total - committed > free) return _skip(r, Skip.BudgetExceeded);

        account.committed = r.total;
        period.committed += uint96(r.total - committed);
        emit Reserved(r.subscriber, r.node, r.period, r.total);
    }

    /// Raises the node's commitment toward the voucher, as far as the free budget covers that, and pays.
    function _claim(Voucher calldata v, bytes calldata signature) private {
        Subscriber storage subscriber = _subscribers[v.subscriber];
        Packed storage period = subscriber.periods[v.period];
        Account memory account = period.accounts[v.node];
        (uint64 end, uint96 free) = (period.end, period.budget - period.committed);
        if (block.timestamp + PERIOD < end || end == 0) return _skip(v, Skip.NoPeriod);
        if (block.timestamp >= end + CLAIM_WINDOW) return _skip(v, Skip.WindowEnded);
        if (_nodes[v.node].payout == address(0)) return _skip(v, Skip.NodeUnknown);
        if (v.cumulative <= account.claimed) return _skip(v, Skip.NotRaised);
        (bool pays, bool raises) = _authority(subscriber, v.subscriber, v.period, hashVoucher(v), signature);
        if (!pays) return _skip(v, Skip.BadSignature);

        uint128 reachable = raises ? account.committed + free : account.committed;
        uint128 cumulative = uint128(Math.min(v.cumulative, reachable));
        if (cumulative == account.claimed) return _skip(v, Skip.NothingPayable);

        if (cumulative > account.committed) {
            period.committed += uint96(cumulative - account.committed);
            account.committed = cumulative;
            emit Reserved(v.subscriber, v.node, v.period, cumulative);
        }
        _pay(v, period, account, cumulative);
    }

    /// Pays the voucher's node up to `cumulative`, which its commitment covers.
    function _pay(Voucher calldata v, Packed storage period, Account memory account, uint128 cumulative) private {
        uint128 paid = cumulative - account.claimed;
        // Differences of floors add up, whatever the steps: see `claim` in the interface.
        uint128 nodeShare = _shareOf(cumulative) - _shareOf(account.claimed);
        account.claimed = cumulative;
        period.accounts[v.node] = account;
        period.paid += uint96(paid);
        withdrawable[v.node] += nodeShare;
        withdrawable[treasury()] += paid - nodeShare;
        emit Claimed(v.subscriber, v.node, v.period, cumulative, nodeShare, paid - nodeShare);
    }

    function _shareOf(uint128 cumulative) private pure returns (uint128) {
        return uint128((uint256(cumulative) * NODE_BPS) / BPS);
    }

    /// What `signature` over `digest` may bring about in the period: payment within commitments, and
    /// raising them. See `Delegation`. Plain ECDSA that cannot revert: one contract wallet must not be
    /// able to stop a batch.
    function _authority(
        Subscriber storage subscriber, address account, uint32 period, bytes32 digest, bytes calldata signature
    ) private view returns (bool pays, bool raises) {
        (address signer, ECDSA.RecoverError fault,) = ECDSA.tryRecoverCalldata(digest, signature);
        if (fault != ECDSA.RecoverError.NoError) return (false, false);
        if (signer == account || signer == subscriber.delegate) return (true, true);
        Delegation storage delegation = subscriber.replaced[signer];
        pays = period <= delegation.lastPeriod;
        raises = pays && block.timestamp < delegation.raisesUntil;
    }

    function _registered(address operator) private view returns (Node storage node) {
        node = _nodes[operator];
        if (node.payout == address(0)) revert NotRegistered(operator);
    }

    /// Empties the operator's queue of its payout.
    function _takeQueued(address operator) private returns (address payout) {
        Node storage node = _nodes[operator];
        payout = node.queuedPayout;
        if (payout == address(0)) revert NoPayoutQueued(operator);
        (node.queuedPayout, node.payoutDue) = (address(0), 0);
    }

    function _now() private view returns (uint64) {
        return uint64(block.timestamp);
    }

    function _skip(Reservation calldata r, Skip reason) private {
        emit ReservationSkipped(r.subscriber, r.node, r.period, reason);
    }

    function _skip(Voucher calldata v, Skip reason) private {
        emit VoucherSkipped(v.subscriber, v.node, v.period, reason);
    }
}
