// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {Ricochet} from "../../contracts/Ricochet.sol";
import {IRicochet} from "../../contracts/interfaces/IRicochet.sol";
import {TestUSD} from "../../contracts/mocks/TestUSD.sol";

interface Vm {
    function addr(uint256 key) external pure returns (address);
    function prank(address sender) external;
    function sign(uint256 key, bytes32 digest) external pure returns (uint8 v, bytes32 r, bytes32 s);
    function warp(uint256 timestamp) external;
}

Vm constant vm = Vm(address(uint160(uint256(keccak256("hevm cheat code")))));

/// @notice Does to the contract whatever its users can do, in the fuzzer's order: two subscribers who
/// renew and change delegates, three nodes of which one registers late and which move their payouts, an
/// owner who pauses and hands over, forgers, replays, donors and time.
/// @dev Calls that are bound to revert are left out, and what only a single step can show (nothing
/// shrinks, replay is a no-op, a voucher within its commitment is paid in full) is checked within the
/// step. A failed check is remembered in `broken`, because a revert would only discard the step.
contract Handler {
    uint256 public constant SUBSCRIBERS = 2;
    uint256 public constant NODES = 3;
    uint256 public constant TREASURIES = 2;
    uint128 public constant MIN_FEE = 5_000_000;
    uint128 public constant MAX_FEE = 10_000_000;
    uint256 private constant STRANGER_KEY = 0xBAD;

    TestUSD public immutable usd;
    Ricochet public immutable ricochet;

    /// What was signed for a batch, to be presented again at any later time.
    struct Paper {
        IRicochet.Voucher voucher;
        bytes asReservation;
        bytes asVoucher;
        address signer;
    }

    Paper[] private papers;
    mapping(address subscriber => address delegate) private serving;
    mapping(address subscriber => mapping(address delegate => IRicochet.Delegation)) private powers;
    uint256 public deposited;
    uint256 public refunded;
    uint256 public donated;
    string public broken;

    constructor() {
        usd = new TestUSD();
        ricochet = new Ricochet(usd, treasuryAt(0), MIN_FEE, MAX_FEE);
        for (uint256 i; i < SUBSCRIBERS; ++i) {
            usd.mint(subscriberAt(i), 1e18);
            vm.prank(subscriberAt(i));
            usd.approve(address(ricochet), type(uint256).max);
        }
        register(0);
        register(1);
        // A run is short: it begins with what most steps need.
        for (uint8 i; i < SUBSCRIBERS; ++i) {
            subscribe(i, MAX_FEE, i, true);
        }
    }

    // ---------------------------------------------------------------- actors

    function subscriberAt(uint256 index) public pure returns (address) {
        return vm.addr(subscriberKey(index));
    }

    function nodeAt(uint256 index) public pure returns (address) {
        return address(uint160(0x1000 + index % NODES));
    }

    /// Each node has two payout addresses of its own.
    function payoutAt(uint256 index, uint256 which) public pure returns (address) {
        return address(uint160(0x2000 + 2 * (index % NODES) + which % 2));
    }

    function treasuryAt(uint256 index) public pure returns (address) {
        return address(uint160(0xFEE0 + index % TREASURIES));
    }

    function subscriberKey(uint256 index) private pure returns (uint256) {
        return 0xA11CE + index % SUBSCRIBERS;
    }

    function delegateKey(uint256 index, uint256 which) private pure returns (uint256) {
        return 0xDE1E6A7E + 2 * (index % SUBSCRIBERS) + which % 2;
    }

    // ---------------------------------------------------------------- steps

    function subscribe(uint8 who, uint128 fee, uint8 delegate, bool autoRenew) public {
        address subscriber = subscriberAt(who);
        address signer = vm.addr(delegateKey(who, delegate));
        uint32 begun = ricochet.currentPeriod(subscriber);
        uint256 held = usd.balanceOf(subscriber);
        bool allowed = !ricochet.paused() && block.timestamp >= _newestEnd(subscriber);
        vm.prank(subscriber);
        try ricochet.subscribe(MIN_FEE + fee % (MAX_FEE - MIN_FEE + 1), signer, autoRenew) {
            if (!allowed) _broken("subscribed while paused or subscribed");
            deposited += held - usd.balanceOf(subscriber);
            _serves(subscriber, signer, begun);
        } catch {
            if (allowed) _broken("could not subscribe");
        }
    }

    function renew(uint8 who) external {
        address subscriber = subscriberAt(who);
        uint256 held = usd.balanceOf(subscriber);
        uint64 end = _newestEnd(subscriber);
        bool due = block.timestamp + ricochet.RENEWAL_LEAD() >= end && block.timestamp < end;
        bool allowed = !ricochet.paused() && ricochet.autoRenewOf(subscriber) && due;
        try ricochet.renew(subscriber) {
            if (!allowed) _broken("renewed against the rules");
            if (_newestEnd(subscriber) != end + ricochet.PERIOD()) _broken("a renewed period is not adjacent");
            deposited += held - usd.balanceOf(subscriber);
        } catch {
            if (allowed) _broken("could not renew");
        }
    }

    function topUp(uint8 who, uint24 amount) external {
        address subscriber = subscriberAt(who);
        uint256 held = usd.balanceOf(subscriber);
        uint64 end = _period(subscriber, ricochet.currentPeriod(subscriber)).end;
        bool allowed = !ricochet.paused() && block.timestamp < end;
        vm.prank(subscriber);
        try ricochet.topUp(uint128(amount) + 1) {
            if (!allowed) _broken("topped up while paused or not subscribed");
            deposited += held - usd.balanceOf(subscriber);
        } catch {
            if (allowed) _broken("could not top up");
        }
    }

    function setDelegate(uint8 who, uint8 delegate) external {
        address subscriber = subscriberAt(who);
        address signer = vm.addr(delegateKey(who, delegate));
        _serves(subscriber, signer, ricochet.currentPeriod(subscriber));
        vm.prank(subscriber);
        ricochet.setDelegate(signer);
    }

    function setAutoRenew(uint8 who, bool autoRenew) external {
        vm.prank(subscriberAt(who));
        ricochet.setAutoRenew(autoRenew);
    }

    function reserve(uint8 who, uint8 node, uint8 ordinal, uint128 total, uint8 signer) external {
        _reserve(_paper(who, node, ordinal, total, signer));
    }

    function claim(uint8 who, uint8 node, uint8 ordinal, uint128 cumulative, uint8 signer) external {
        _claim(_paper(who, node, ordinal, cumulative, signer));
    }

    function reserveAgain(uint256 which) external {
        if (papers.length != 0) _reserve(papers[which % papers.length]);
    }

    function claimAgain(uint256 which) external {
        if (papers.length != 0) _claim(papers[which % papers.length]);
    }

    function close(uint8 who, uint8 ordinal) external {
        address subscriber = subscriberAt(who);
        uint32 number = _ordinal(subscriber, ordinal);
        IRicochet.Period memory period = _period(subscriber, number);
        if (period.end == 0 || period.closed) return;
        try ricochet.close(subscriber, number) {
            if (block.timestamp < period.end + ricochet.CLAIM_WINDOW()) _broken("closed within the window");
        } catch {
            if (block.timestamp >= period.end + ricochet.CLAIM_WINDOW()) _broken("could not be closed");
        }
    }

    function refund(uint8 who) external {
        address subscriber = subscriberAt(who);
        if (ricochet.refundable(subscriber) == 0) return;
        uint256 held = usd.balanceOf(subscriber);
        vm.prank(subscriber);
        ricochet.refund();
        refunded += usd.balanceOf(subscriber) - held;
    }

    function withdraw(uint8 who) external {
        uint256 index = who % (NODES + TREASURIES);
        address account = index < NODES ? nodeAt(index) : treasuryAt(index - NODES);
        if (ricochet.withdrawable(account) == 0) return;
        ricochet.withdraw(account);
    }

    function register(uint8 node) public {
        if (ricochet.nodeOf(nodeAt(node)).payout != address(0)) return;
        vm.prank(nodeAt(node));
        ricochet.registerNode("peer", new string[](0), payoutAt(node, 0));
    }

    function queuePayout(uint8 node, uint8 which) external {
        if (ricochet.nodeOf(nodeAt(node)).payout == address(0)) return;
        vm.prank(nodeAt(node));
        ricochet.queuePayout(payoutAt(node, which));
    }

    function settlePayout(uint8 node, bool veto) external {
        IRicochet.Node memory entry = ricochet.nodeOf(nodeAt(node));
        if (entry.queuedPayout == address(0)) return;
        if (veto) {
            vm.prank(entry.payout);
            ricochet.cancelPayout(nodeAt(node));
            return;
        }
        try ricochet.applyPayout(nodeAt(node)) {
            if (block.timestamp < entry.payoutDue) _broken("a payout changed before its time");
        } catch {
            if (block.timestamp >= entry.payoutDue) _broken("a payout could not change");
        }
    }

    /// Pausing and handing over: after either, nothing that was paid in may be worth less to anybody.
    function govern(uint8 act) external {
        uint256 owed = ricochet.liabilities();
        uint256 held = usd.balanceOf(address(ricochet));
        address owner = ricochet.owner();
        address successor = treasuryAt(owner == treasuryAt(0) ? 1 : 0);
        if (act % 4 == 0) {
            vm.prank(owner);
            ricochet.transferOwnership(successor);
            vm.prank(successor);
            ricochet.acceptOwnership();
        } else if (act % 4 == 1 && !ricochet.paused()) {
            vm.prank(owner);
            ricochet.pause();
        } else if (ricochet.paused()) {
            vm.prank(owner);
            ricochet.unpause();
        }
        if (ricochet.liabilities() != owed || usd.balanceOf(address(ricochet)) != held) _broken("the owner moved funds");
    }

    function donate(uint8 amount) external {
        usd.mint(address(ricochet), amount);
        donated += amount;
    }

    function elapse(uint32 span) external {
        vm.warp(block.timestamp + span % 2 days);
    }

    /// Moves to a second at which a rule changes for the subscriber, or to the one before it.
    function approach(uint8 who, uint8 edge) external {
        uint64 end = _newestEnd(subscriberAt(who));
        uint64[3] memory edges = [end - ricochet.RENEWAL_LEAD(), end, end + ricochet.CLAIM_WINDOW()];
        uint256 second = edges[edge % 3] - (edge / 3) % 2;
        if (second > block.timestamp) vm.warp(second);
    }

    // ---------------------------------------------------------------- internal

    /// Signs one amount to one node both ways, and keeps it for replays.
    function _paper(uint8 who, uint8 node, uint8 ordinal, uint128 amount, uint8 signer)
        private
        returns (Paper memory paper)
    {
        address subscriber = subscriberAt(who);
        paper.voucher = IRicochet.Voucher(subscriber, nodeAt(node), _ordinal(subscriber, ordinal), 0);
        paper.voucher.cumulative = _amount(subscriber, paper.voucher.period, amount);
        uint256 key = _signerKey(who, signer);
        paper.asReservation = _sign(key, ricochet.hashReservation(_reservation(paper.voucher)));
        paper.asVoucher = _sign(key, ricochet.hashVoucher(paper.voucher));
        paper.signer = vm.addr(key);
        papers.push(paper);
    }

    /// Presents the reservation twice in one batch, and checks what it may and must not do.
    function _reserve(Paper memory paper) private {
        IRicochet.Reservation memory r = _reservation(paper.voucher);
        IRicochet.Account memory before = ricochet.accountOf(r.subscriber, r.period, r.node);
        IRicochet.Period memory period = _period(r.subscriber, r.period);
        (, bool raises) = _authority(paper);
        IRicochet.Reservation[] memory batch = new IRicochet.Reservation[](2);
        (batch[0], batch[1]) = (r, r);
        try ricochet.reserve(batch, _twice(paper.asReservation)) {}
        catch { _broken("a batch of reservations reverted"); }

        IRicochet.Account memory later = ricochet.accountOf(r.subscriber, r.period, r.node);
        bool running = block.timestamp >= period.start && block.timestamp < period.end;
        bool affordable = r.total - _min(before.committed, r.total) <= period.budget - period.committed;
        bool due = running && raises && r.total > before.committed && affordable;
        if (later.claimed != before.claimed) _broken("a reservation paid");
        if (later.committed != (due ? r.total : before.committed)) _broken("not the commitment that was reserved");
    }

    /// Presents the voucher twice in one batch, and checks what it may and must not do.
    function _claim(Paper memory paper) private {
        IRicochet.Voucher memory v = paper.voucher;
        IRicochet.Account memory before = ricochet.accountOf(v.subscriber, v.period, v.node);
        IRicochet.Period memory period = _period(v.subscriber, v.period);
        (bool pays, bool raises) = _authority(paper);
        IRicochet.Voucher[] memory batch = new IRicochet.Voucher[](2);
        (batch[0], batch[1]) = (v, v);
        try ricochet.claim(batch, _twice(paper.asVoucher)) {}
        catch { _broken("a batch of vouchers reverted"); }

        IRicochet.Account memory later = ricochet.accountOf(v.subscriber, v.period, v.node);
        bool open = block.timestamp >= period.start && block.timestamp < uint256(period.end) + ricochet.CLAIM_WINDOW();
        bool due = open && pays && ricochet.nodeOf(v.node).payout != address(0) && v.cumulative > before.claimed;
        uint128 reachable = before.committed + (raises ? period.budget - period.committed : 0);
        uint128 claimed = due ? _min(v.cumulative, reachable) : before.claimed;
        if (period.closed && later.claimed != before.claimed) _broken("paid after the period was closed");
        if (due && v.cumulative <= before.committed && later.claimed != v.cumulative) {
            _broken("a voucher within its commitment was not paid in full");
        }
        if (later.claimed != claimed) _broken("not paid what the voucher is worth");
        if (later.committed < before.committed) _broken("a claim shrank a commitment");
    }

    /// What the paper's signer may do now, by the handler's own record of who served when.
    function _authority(Paper memory paper) private view returns (bool pays, bool raises) {
        address subscriber = paper.voucher.subscriber;
        if (paper.signer == subscriber) return (true, true);
        IRicochet.Delegation memory power = powers[subscriber][paper.signer];
        pays = paper.voucher.period <= power.lastPeriod;
        raises = pays && block.timestamp < power.raisesUntil;
    }

    /// Records that `delegate` now serves, and for how long the one before has power.
    function _serves(address subscriber, address delegate, uint32 begun) private {
        powers[subscriber][serving[subscriber]] = IRicochet.Delegation(begun, uint64(block.timestamp) + 24 hours);
        powers[subscriber][delegate] = IRicochet.Delegation(type(uint32).max, type(uint64).max);
        serving[subscriber] = delegate;
    }

    function _reservation(IRicochet.Voucher memory v) private pure returns (IRicochet.Reservation memory) {
        return IRicochet.Reservation(v.subscriber, v.node, v.period, v.cumulative);
    }

    function _period(address subscriber, uint32 ordinal) private view returns (IRicochet.Period memory) {
        return ricochet.periodOf(subscriber, ordinal);
    }

    /// How many periods were opened, one renewed ahead included.
    function opened(address subscriber) public view returns (uint32) {
        uint32 current = ricochet.currentPeriod(subscriber);
        return _period(subscriber, current + 1).end == 0 ? current : current + 1;
    }

    function _newestEnd(address subscriber) private view returns (uint64) {
        return _period(subscriber, opened(subscriber)).end;
    }

    /// Mostly the current period, sometimes an earlier one, the next, or one not opened yet.
    function _ordinal(address subscriber, uint8 seed) private view returns (uint32) {
        uint32 current = ricochet.currentPeriod(subscriber);
        return seed % 2 == 0 ? current : uint32(seed / 2) % (current + 3);
    }

    /// Up to a quarter above the budget, so that both sides of every bound are met.
    function _amount(address subscriber, uint32 ordinal, uint128 seed) private view returns (uint128) {
        uint128 budget = _period(subscriber, ordinal).budget;
        return seed % (budget + budget / 4 + 1);
    }

    function _signerKey(uint8 who, uint8 signer) private pure returns (uint256) {
        if (signer % 4 == 0) return subscriberKey(who);
        return signer % 4 == 3 ? STRANGER_KEY : delegateKey(who, signer);
    }

    function _sign(uint256 key, bytes32 digest) private pure returns (bytes memory) {
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(key, digest);
        return abi.encodePacked(r, s, v);
    }

    function _twice(bytes memory signature) private pure returns (bytes[] memory both) {
        both = new bytes[](2);
        (both[0], both[1]) = (signature, signature);
    }

    function _min(uint128 a, uint128 b) private pure returns (uint128) {
        return a < b ? a : b;
    }

    function _broken(string memory rule) private {
        broken = rule;
    }
}
