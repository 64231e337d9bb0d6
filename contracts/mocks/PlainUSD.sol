// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {ERC20} from "@openzeppelin/contracts/token/ERC20/ERC20.sol";

/// @title A token without permits
/// @notice FOR TESTS ONLY: allowances are given by `approve` alone.
contract PlainUSD is ERC20("Plain USD", "pUSD") {
    /// @notice Create `amount` for `to` out of nothing.
    function mint(address to, uint256 amount) external {
        _mint(to, amount);
    }
}
