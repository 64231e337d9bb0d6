// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {Ricochet} from "../../contracts/Ricochet.sol";
import {IRicochet} from "../../contracts/interfaces/IRicochet.sol";
import {TestUSD} from "../../contracts/mocks/TestUSD.sol";
import {vm} from "./Handler.sol";

/// @notice Income depends on the last voucher alone, not on how often or in what order vouchers are claimed.
contract SplitTest {
    uint256 private constant KEY = 0xA11CE;
    uint128 private constant FEE = 10_000_000;
    address private constant TREASURY = address(0xFEE);
    address private constant NODE = address(0x1000);
    address private constant OTHER = address(0x1001);

    function testFuzz_splittingAClaimChangesNothing(uint128 total, uint128[6] memory cuts) public {
        Ricochet whole = _subscribed();
        Ricochet split = _subscribed();
        total %= 2 * FEE;
        _claim(whole, NODE, total);
        for (uint256 i; i < cuts.length; ++i) {
            _claim(split, NODE, cuts[i] % (total + 1));
        }
        _claim(split, NODE, total);
        _requireSame(whole, split);
    }

    function testFuzz_orderWithinCommitmentsChangesNothing(uint128 one, uint128 two, uint128 bound) public {
        bound %= FEE + 1;
        (one, two) = (one % (bound + 1), two % (FEE - bound + 1));
        Ricochet forward = _subscribed();
        Ricochet backward = _subscribed();
        _reserve(forward, bound);
        _reserve(backward, bound);
        _claim(forward, NODE, one);
        _claim(forward, OTHER, two);
        _claim(backward, OTHER, two);
        _claim(backward, NODE, one);
        _requireSame(forward, backward);
    }

    function _subscribed() private returns (Ricochet ricochet) {
        TestUSD usd = new TestUSD();
        ricochet = new Ricochet(usd, TREASURY, FEE, FEE);
        address subscriber = vm.addr(KEY);
        usd.mint(subscriber, FEE);
        vm.prank(subscriber);
        usd.approve(address(ricochet), FEE);
        vm.prank(subscriber);
        ricochet.subscribe(FEE, subscriber, false);
        vm.prank(NODE);
        ricochet.registerNode("node", new string[](0), NODE);
        vm.prank(OTHER);
        ricochet.registerNode("other", new string[](0), OTHER);
    }

    /// Divides the budget between the two nodes: `bound` to one, the rest to the other.
    function _reserve(Ricochet ricochet, uint128 bound) private {
        IRicochet.Reservation[] memory batch = new IRicochet.Reservation[](2);
        bytes[] memory signatures = new bytes[](2);
        batch[0] = IRicochet.Reservation(vm.addr(KEY), NODE, 1, bound);
        batch[1] = IRicochet.Reservation(vm.addr(KEY), OTHER, 1, FEE - bound);
        for (uint256 i; i < 2; ++i) {
            signatures[i] = _sign(ricochet.hashReservation(batch[i]));
        }
        ricochet.reserve(batch, signatures);
    }

    function _claim(Ricochet ricochet, address node, uint128 cumulative) private {
        IRicochet.Voucher[] memory batch = new IRicochet.Voucher[](1);
        bytes[] memory signatures = new bytes[](1);
        batch[0] = IRicochet.Voucher(vm.addr(KEY), node, 1, cumulative);
        signatures[0] = _sign(ricochet.hashVoucher(batch[0]));
        ricochet.claim(batch, signatures);
    }

    function _sign(bytes32 digest) private pure returns (bytes memory) {
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(KEY, digest);
        return abi.encodePacked(r, s, v);
    }

    function _requireSame(Ricochet one, Ricochet two) private view {
        require(one.withdrawable(NODE) == two.withdrawable(NODE), "the node's income differs");
        require(one.withdrawable(OTHER) == two.withdrawable(OTHER), "the other node's income differs");
        require(one.withdrawable(TREASURY) == two.withdrawable(TREASURY), "the commission differs");
    }
}
