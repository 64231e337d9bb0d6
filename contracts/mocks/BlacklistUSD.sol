// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {TestUSD} from "./TestUSD.sol";

/// @title A token whose issuer can bar accounts
/// @notice FOR TESTS ONLY: behaves like the large stablecoins, whose transfers to a barred account fail.
contract BlacklistUSD is TestUSD {
    mapping(address account => bool) public barred;

    error Barred(address account);

    /// @notice Bar `account`, or let it receive tokens again.
    function bar(address account, bool whether) external {
        barred[account] = whether;
    }

    function _update(address from, address to, uint256 value) internal override {
        if (barred[to]) revert Barred(to);
        super._update(from, to, value);
    }
}
