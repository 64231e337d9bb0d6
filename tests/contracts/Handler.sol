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
/// change delegates, three nodes of which one registers late, forgers, replays, donors and time.
/// @dev Calls that are bound to revert are left out, and what only a single step can show (nothing
/// shrinks, replay is a no-op, a voucher within its commitment is paid in full) is checked within the
/// step. A failed check is remembered in `broken`, because a revert would only discard the step.
contract Handler {
    uint256 public constant SUBSCRIBERS = 2;
    uint256 public constant NODES = 3;
    address public constant TREASURY = address(0xFEE);
    uint128 public constant MIN_FEE = 5_000_000;
    uint128 public constant MAX_FEE = 10_000_000;
    uint256 private constant STRANGER_KEY = 0xBAD;

    TestUSD public immutable usd;
    Ricochet public immutable ricochet;

    uint256 public deposited;
    uint256 public refunded;
    uint256 public donated;
    string public broken;

    constructor() {
        usd = new TestUSD();
        ricochet = new Ricochet(usd, TREASURY, MIN_FEE, MAX_FEE);
        for (uint256 i; i < SUBSCRIBERS; ++i) {
            usd.mint(subscriberAt(i), 1e18);
            vm.prank(subscriberAt(i));
            usd.approve(address(ricochet), type(uint256).max);
        }
        register(0);
        register(1);
    }

    // ---------------------------------------------------------------- actors

    function subscriberAt(uint256 index) public pure returns (address) {
        return vm.addr(subscriberKey(index));
    }

    function nodeAt(uint256 index) public pure returns (address) {
        return address(uint160(0x1000 + index % NODES));
    }

    function payoutAt(uint256 index) public pure returns (address) {
        return address(uint160(0x2000 + index % NODES));
    }

    function subscriberKey(uint256 index) private pure returns (uint256) {
        return 0xA11CE + index % SUBSCRIBERS;
    }

    function delegateKey(uint256 index, uint256 which) private pure returns (uint256) {
        return 0xDE1E6A7E + 2 * (index % SUBSCRIBERS) + which % 2;
    }

    // ---------------------------------------------------------------- steps

    function subscribe(uint8 who, uint128 fee, uint8 delegate) external {
        address subscriber = subscriberAt(who);
        if (block.timestamp < _period(subscriber, ricochet.currentPeriod(subscriber)).end) return;
        uint256 held = usd.balanceOf(subscriber);
        vm.prank(subscriber);
        ricochet.subscribe(MIN_FEE + fee % (MAX_FEE - MIN_FEE + 1), vm.addr(delegateKey(who, delegate)), false);
        deposited += held - usd.balanceOf(subscriber);
    }

    function topUp(uint8 who, uint24 amount) external {
        address subscriber = subscriberAt(who);
        if (block.timestamp >= _period(subscriber, ricochet.currentPeriod(subscriber)).end) return;
        uint256 held = usd.balanceOf(subscriber);
        vm.prank(subscriber);
        ricochet.topUp(uint128(amount) + 1);
        deposited += held - usd.balanceOf(subscriber);
    }

    function reserve(uint8 who, uint8 node, uint8 ordinal, uint128 total, uint8 signer) external {
        IRicochet.Reservation memory r = IRicochet.Reservation(subscriberAt(who), nodeAt(node), 0, 0);
        r.period = _ordinal(r.subscriber, ordinal);
        r.total = _amount(r.subscriber, r.period, total);
        IRicochet.Account memory before = ricochet.accountOf(r.subscriber, r.period, r.node);
        IRicochet.Period memory period = _period(r.subscriber, r.period);

        IRicochet.Reservation[] memory batch = new IRicochet.Reservation[](2);
        (batch[0], batch[1]) = (r, r);
        try ricochet.reserve(batch, _twice(_sign(who, signer, ricochet.hashReservation(r)))) {}
        catch { _broken("a batch of reservations reverted"); }

        IRicochet.Account memory later = ricochet.accountOf(r.subscriber, r.period, r.node);
        if (later.claimed != before.claimed) _broken("a reservation paid");
        if (later.committed == before.committed) return;
        if (later.committed != r.total || r.total < before.committed) _broken("a commitment not raised to the total");
        if (block.timestamp >= period.end) _broken("a reservation after the end");
        if (vm.addr(_signerKey(who, signer)) == vm.addr(STRANGER_KEY)) _broken("a stranger's reservation");
    }

    function claim(uint8 who, uint8 node, uint8 ordinal, uint128 cumulative, uint8 signer) external {
        IRicochet.Voucher memory v = IRicochet.Voucher(subscriberAt(who), nodeAt(node), 0, 0);
        v.period = _ordinal(v.subscriber, ordinal);
        v.cumulative = _amount(v.subscriber, v.period, cumulative);
        IRicochet.Account memory before = ricochet.accountOf(v.subscriber, v.period, v.node);
        IRicochet.Period memory period = _period(v.subscriber, v.period);

        IRicochet.Voucher[] memory batch = new IRicochet.Voucher[](2);
        (batch[0], batch[1]) = (v, v);
        try ricochet.claim(batch, _twice(_sign(who, signer, ricochet.hashVoucher(v)))) {}
        catch { _broken("a batch of vouchers reverted"); }

        IRicochet.Account memory later = ricochet.accountOf(v.subscriber, v.period, v.node);
        bool open = block.timestamp < uint256(period.end) + ricochet.CLAIM_WINDOW();
        bool registered = ricochet.nodeOf(v.node).payout != address(0);
        if (later.claimed < before.claimed || later.committed < before.committed) _broken("a claim shrank an account");
        if (open && registered && signer % 4 == 0 && v.cumulative <= before.committed) {
            if (later.claimed < v.cumulative) _broken("a voucher within its commitment was not paid in full");
        }
        if (later.claimed == before.claimed) return;
        if (later.claimed > v.cumulative) _broken("paid more than the voucher says");
        if (!open) _broken("paid after the window");
        if (!registered) _broken("paid a node nobody registered");
        if (vm.addr(_signerKey(who, signer)) == vm.addr(STRANGER_KEY)) _broken("paid a stranger's voucher");
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
        address account = who % (NODES + 1) == NODES ? TREASURY : nodeAt(who % (NODES + 1));
        if (ricochet.withdrawable(account) == 0) return;
        ricochet.withdraw(account);
    }

    function register(uint8 node) public {
        vm.prank(nodeAt(node));
        ricochet.registerNode("peer", new string[](0), payoutAt(node));
    }

    function donate(uint8 amount) external {
        usd.mint(address(ricochet), amount);
        donated += amount;
    }

    function elapse(uint32 span) external {
        vm.warp(block.timestamp + span % 20 days);
    }

    // ---------------------------------------------------------------- internal

    function _period(address subscriber, uint32 ordinal) private view returns (IRicochet.Period memory) {
        return ricochet.periodOf(subscriber, ordinal);
    }

    /// Mostly the current period, sometimes an earlier one or the one not opened yet.
    function _ordinal(address subscriber, uint8 seed) private view returns (uint32) {
        uint32 current = ricochet.currentPeriod(subscriber);
        return seed % 2 == 0 ? current : uint32(seed / 2) % (current + 2);
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

    function _sign(uint8 who, uint8 signer, bytes32 digest) private pure returns (bytes memory) {
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(_signerKey(who, signer), digest);
        return abi.encodePacked(r, s, v);
    }

    function _twice(bytes memory signature) private pure returns (bytes[] memory both) {
        both = new bytes[](2);
        (both[0], both[1]) = (signature, signature);
    }

    function _broken(string memory rule) private {
        broken = rule;
    }
}
