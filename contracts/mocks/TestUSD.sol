// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {ERC20} from "@openzeppelin/contracts/token/ERC20/ERC20.sol";
import {ERC20Permit} from "@openzeppelin/contracts/token/ERC20/extensions/ERC20Permit.sol";

/// @title The stablecoin of development chains
/// @notice FOR DEVELOPMENT AND TESTS ONLY: anyone can mint any amount, so it is worth nothing.
/// @dev Shaped like the stablecoins used for payments: 6 decimals, and approval by signature.
contract TestUSD is ERC20Permit {
    constructor() ERC20("Ricochet Test USD", "tUSD") ERC20Permit("Ricochet Test USD") {}

    /// @notice Create `amount` for `to` out of nothing.
    function mint(address to, uint256 amount) external {
        _mint(to, amount);
    }

    function decimals() public pure override returns (uint8) {
        return 6;
    }
}
