// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {TestUSD} from "./TestUSD.sol";

/// @title A token that keeps 1 % of every transfer
/// @notice FOR TESTS ONLY: the kind of token that Ricochet refuses.
contract FeeOnTransferUSD is TestUSD {
    function _update(address from, address to, uint256 value) internal override {
        super._update(from, to, value);
        if (from != address(0) && to != address(0)) super._update(to, address(0), value / 100);
    }
}
