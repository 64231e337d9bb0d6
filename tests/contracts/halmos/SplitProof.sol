// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

/// @notice What halmos proves, for every amount there is, of the formula that divides a payment: see
/// docs/proofs.md. A test holds `_shareOf` to the text of the function of that name in Ricochet.sol.
/// @dev A check that reverts proves nothing, so those that subtract do it unchecked: an underflow then
/// breaks the assertion instead of being passed over.
contract SplitProof {
    uint256 private constant NODE_BPS = 7_000;
    uint256 private constant BPS = 10_000;

    /// The share is 70 % of everything paid so far, rounded down: never more, and less than a unit below.
    function check_shareIsSeventyPercentRoundedDown(uint128 cumulative) public pure {
        uint256 share = _shareOf(cumulative);
        assert(share * 10_000 <= uint256(cumulative) * 7_000);
        assert((share + 1) * 10_000 > uint256(cumulative) * 7_000);
    }

    /// A claim never takes back income, so the checked subtraction in the contract cannot revert.
    function check_shareNeverShrinks(uint128 previous, uint128 cumulative) public pure {
        if (previous <= cumulative) assert(_shareOf(previous) <= _shareOf(cumulative));
    }

    /// The share of one claim fits into what it pays, so share and commission together are all of it.
    function check_commissionIsNeverNegative(uint128 previous, uint128 cumulative) public pure {
        if (previous > cumulative) return;
        unchecked {
            uint128 paid = cumulative - previous;
            uint128 share = _shareOf(cumulative) - _shareOf(previous);
            assert(share <= paid);
            assert(uint256(share) + (paid - share) == paid);
        }
    }

    /// Two claims bring what one claim would have; applied again to its parts, so does any split.
    function check_splittingAClaimChangesNothing(uint128 previous, uint128 between, uint128 cumulative) public pure {
        if (previous > between || between > cumulative) return;
        unchecked {
            uint256 first = _shareOf(between) - _shareOf(previous);
            uint256 second = _shareOf(cumulative) - _shareOf(between);
            assert(first + second == _shareOf(cumulative) - _shareOf(previous));
        }
    }

    /// Not so: one claim alone can gain up to a unit from rounding. The proof must find such amounts,
    /// which shows that it can find anything.
    function check_refutedThatNoSingleClaimExceedsSeventyPercent(uint128 previous, uint128 cumulative) public pure {
        if (previous > cumulative) return;
        unchecked {
            uint256 share = _shareOf(cumulative) - _shareOf(previous);
            assert(share * 10_000 <= uint256(cumulative - previous) * 7_000);
        }
    }

    function _shareOf(uint128 cumulative) private pure returns (uint128) {
        return uint128((uint256(cumulative) * NODE_BPS) / BPS);
    }
}
